"""Framing: what is a frame, what is noise, what ends the trust in a stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pwsh_gateway.domain.protocol import Frame, FrameReader, Noise, Overflow, Raised, Returned, answer_of, encode

FRAME = b'\x1e{"id":"1","ok":true}\n'


def feed(*chunks: bytes, limit: int = 1000) -> list[object]:
    reader = FrameReader(limit)
    return [event for chunk in chunks for event in reader.feed(chunk)]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param([FRAME], [Frame({"id": "1", "ok": True})], id="a frame"),
        pytest.param([FRAME[:5], FRAME[5:]], [Frame({"id": "1", "ok": True})], id="a frame in two pieces"),
        pytest.param([b"banner\n" + FRAME], [Noise("banner"), Frame({"id": "1", "ok": True})], id="a banner before"),
        pytest.param([b"no newline" + FRAME], [Noise("no newline"), Frame({"id": "1", "ok": True})], id="same line"),
        pytest.param([b"\n  \n"], [], id="empty lines are nothing"),
        pytest.param([b"\x1enot json\n"], [Noise("not json")], id="a separator does not make a frame"),
        pytest.param([b'\x1e[1,2]\n\x1e{"id":5}\n'], [Noise("[1,2]"), Noise('{"id":5}')], id="only objects with an id"),
        pytest.param([b"\xff\xfe\n"], [Noise("��")], id="bytes that are no text"),
        pytest.param([b"x" * 600, b"x" * 600], [Overflow(1200)], id="a line beyond the limit"),
        pytest.param([b"x" * 1200 + b"\n" + FRAME], [Overflow(1200)], id="nothing counts after an overflow"),
    ],
)
def test_stdout_is_cut_into_frames_and_noise(chunks: list[bytes], expected: list[object]) -> None:
    assert feed(*chunks) == expected


def test_noise_is_kept_short() -> None:
    (noise,) = feed(b"y" * 5000 + b"\n", limit=10_000)
    assert isinstance(noise, Noise)
    assert len(noise.text) == 2000


@given(st.text(), st.lists(st.integers(1, 7), max_size=20))
def test_any_text_survives_the_way_out_in_one_line(value: str, cuts: list[int]) -> None:
    if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        return
    line = encode({"id": "1", "value": value})
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert b"\x1e" not in line
    # The host answers in the same form; however the bytes are cut, the same frame comes out.
    framed, pieces = b"\x1e" + line, []
    for cut in cuts:
        pieces.append(framed[:cut])
        framed = framed[cut:]
    assert feed(*pieces, framed, limit=10_000_000) == [Frame({"id": "1", "value": value})]


def test_an_error_returned_as_an_object_is_an_error() -> None:
    answer = answer_of({"ok": True, "output": [{"Code": "BadRequest", "Message": "Telephone Number 'x' is taken"}]})
    assert isinstance(answer, Raised)
    assert answer.error.fqid == "BadRequest"
    assert answer.error.message == "Telephone Number 'x' is taken"


def test_an_ordinary_object_is_not_an_error() -> None:
    answer = answer_of({"ok": True, "output": [{"Code": "CH", "Name": "Switzerland"}], "duration_ms": 7})
    assert answer == Returned(({"Code": "CH", "Name": "Switzerland"},), (), 7)


@pytest.mark.parametrize("broken", [None, "text", 5, [], {"message": None, "http": True}])
def test_a_broken_error_object_is_still_a_typed_error(broken: object) -> None:
    answer = answer_of({"ok": False, "error": broken, "warnings": "none"})
    assert isinstance(answer, Raised)
    assert answer.error.message
    assert answer.error.http is None
