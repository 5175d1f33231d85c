"""Kafka's jars: the committed list, what differs is refused, no network is said in words."""

import hashlib
from pathlib import Path, PurePosixPath

import pytest

from ucmesh_embedded import jars
from ucmesh_embedded.errors import StackError
from ucmesh_embedded.jars import Jar


def test_the_list_names_kafka_and_its_logging() -> None:
    found = {jar.coordinates for jar in jars.listed()}
    assert ("org.apache.kafka", "kafka_2.13", "4.4.0") in found
    assert ("org.slf4j", "slf4j-simple", "1.7.36") in found
    assert all(len(jar.sha256) == 64 for jar in jars.listed())
    assert len({jar.path for jar in jars.listed()}) == len(jars.listed())


def test_a_jar_that_differs_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.jar"
    file.write_bytes(b"tampered")
    jar = Jar(PurePosixPath("org/x/x/1/x-1.jar"), hashlib.sha256(b"genuine").hexdigest())
    with pytest.raises(StackError, match=r"x-1\.jar was refused: its SHA-256 is"):
        jars.accept(file, jar, tmp_path / "maven" / "x-1.jar")
    assert not (tmp_path / "maven").exists()


def test_without_network_the_message_says_so_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(StackError, match=r"Maven Central was not reached.\n.*run `./dev setup` again"):
        jars.classpath(tmp_path)
    assert not list(tmp_path.glob("maven.part*"))
