"""What is believed of the database's clock after an answer that was on its way for a while."""

import pytest

from mesh_runtime.database_clock import corrected


@pytest.mark.parametrize(
    ("offset", "least", "most", "believed"),
    [
        (None, 99.0, 101.0, 100.0),
        (100.2, 99.0, 101.0, 100.2),
        (100.2, 40.0, 160.0, 100.2),
        (100.2, 100.5, 100.9, 100.5),
        (100.2, 98.0, 99.0, 99.0),
        (100.0, 3699.9, 3700.1, 3699.9),
    ],
    ids=["first look", "still possible", "slow answer", "drifted behind", "drifted ahead", "the database's jumped"],
)
def test_the_offset_moves_only_as_far_as_the_answer_proves(offset, least, most, believed):
    assert corrected(offset, least, most) == believed
