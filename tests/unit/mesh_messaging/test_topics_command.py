"""The command's ways to fail: each says what to do and has an exit code of its own."""

from pathlib import Path

import pytest

from mesh_messaging.topics.__main__ import main
from mesh_messaging.topics.scram import SetPassword
from mesh_runtime.errors import InvalidInput
from ucmesh_embedded.places import free_port
from ucmesh_embedded.topology import TOPICS_FILE


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address nobody listens on, as the environment's broker."""
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("TOPICS_KAFKA_BOOTSTRAP", address)
    return address


def test_missing_settings_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", str(TOPICS_FILE)]) == 2
    assert "TOPICS_KAFKA_BOOTSTRAP: is not set" in capsys.readouterr().err


def test_a_file_that_is_none_is_named(nowhere: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["apply", str(tmp_path / "topics.yaml")]) == 2
    assert "topics.yaml is no topics file" in capsys.readouterr().err


def test_brokers_that_do_not_answer_are_named(nowhere: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", str(TOPICS_FILE)]) == 1
    said = capsys.readouterr().err
    assert f"Apache Kafka at {nowhere} does not let us in" in said
    assert "Check address, certificate authority, user and password" in said


def test_a_folder_without_passwords_is_named(nowhere: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["set-passwords", str(tmp_path)]) == 2
    assert "holds no password files" in capsys.readouterr().err


def test_a_password_that_can_be_guessed_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidInput, match="the password of hr has fewer than 16 characters") as refused:
        SetPassword("hr", "hunter2")
    assert "hunter2" not in refused.value.message
