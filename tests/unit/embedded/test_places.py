"""Ports, folders and the messages for what a machine may refuse."""

import errno
import os
import socket
from pathlib import Path

import pytest

from ucmesh_embedded import kafka, places, postgres
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.places import Places, Unprivileged, free_port, reachable_folder, require_space, settle_port


def test_a_free_port_lies_below_the_outgoing_range() -> None:
    assert places.PORT_FIRST <= free_port() <= places.PORT_LAST


async def test_a_port_somebody_keeps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PORT_WAIT_SECONDS", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"PostgreSQL: port {port} is taken by another program"):
            await settle_port(port, "PostgreSQL")


def test_a_nearly_full_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="MiB are free where"):
        require_space(tmp_path / "not-there-yet", bytes_min=2**60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "cannot be written"), (errno.EROFS, "cannot be")]
)
def test_what_the_system_refuses_is_said_in_words(code: int, words: str, tmp_path: Path) -> None:
    error = places.unwritable(OSError(code, os.strerror(code)), tmp_path)
    assert words in error.message
    assert "UCMESH_HOME" in error.remedy


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("PANIC: could not write: No space left on device", "the disk is full"),
        ("could not bind IPv4 address: Address already in use", "port was taken by another program"),
        ("something odd", "something odd"),
    ],
)
def test_a_servers_last_lines_become_a_message(output: str, words: str) -> None:
    assert words in str(postgres.diagnose("PostgreSQL did not start", output))
    assert words in str(kafka.diagnose(output))


def test_a_home_in_a_file_is_refused_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="cannot be written"):
        Places.of(tmp_path / "file" / "home").make()


def test_the_cache_may_live_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UCMESH_CACHE", raising=False)
    assert Places.of(tmp_path).cache == tmp_path / "cache"
    monkeypatch.setenv("UCMESH_CACHE", str(tmp_path / "shared"))
    assert Places.of(tmp_path).cache == tmp_path / "shared"


def test_a_closed_parent_sends_the_data_outside(tmp_path: Path) -> None:
    stranger = Unprivileged(uid=54_321, gid=54_321)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = reachable_folder(closed / "data", stranger, "test")
    try:
        assert not folder.is_relative_to(tmp_path)
        assert folder == reachable_folder(closed / "data", stranger, "test")
    finally:
        folder.rmdir()
