"""One mesh for all end-to-end tests, with Northwind registered."""

from collections.abc import Iterator

import pytest

from support import joiners
from support.joiners import Office
from support.mesh import running


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with running(tmp_path_factory.mktemp("mesh"), joiners.options()) as mesh:
        made = Office(mesh)
        made.register("northwind")
        yield made
