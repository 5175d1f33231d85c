"""`./dev` on machines that lack something: a clear message each, no traceback, and the next call goes on.

Runs in a copy of the few files setup reads, never in the checkout's own environment.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.killing import await_gone
from support.real_parts import ROOT
from support.waiting import eventually_sync

DEAD_PROXY = "http://127.0.0.1:9"
TOOLS = ("awk", "cat", "cksum", "date", "dirname", "grep", "mkdir", "nice", "nohup", "rm", "sed", "sh", "sleep", "tail")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    for name in ("dev", "pyproject.toml", "requirements.lock", "embedded/src/ucmesh_embedded/jars.sha256"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for member in ROOT.glob("*/**/pyproject.toml"):
        if ".venv" not in member.parts and ".ucmesh" not in member.parts:
            (folder / member.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(member, folder / member.relative_to(ROOT))
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the tools `./dev` may use and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def environment(path: str | Path, **more: str) -> dict[str, str]:
    return {"PATH": str(path), "HOME": os.environ.get("HOME", "/"), "PIP_NO_CACHE_DIR": "1"} | more


def dev(checkout: Path, *arguments: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", "./dev", *arguments], cwd=checkout, env=env, capture_output=True, text=True, timeout=100, check=False
    )


def python_stub(folder: Path, body: str) -> None:
    stub = folder / "python3"
    stub.write_text(f"#!/bin/sh\n{body}\n")
    stub.chmod(0o755)


def no_network(tmp_path: Path, **more: str) -> dict[str, str]:
    proxies = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), DEAD_PROXY)
    return environment(os.environ["PATH"], UV_CACHE_DIR=str(tmp_path / "uv"), PIP_FIND_LINKS="", **proxies, **more)


def test_no_python_is_said(checkout: Path, tools: Path) -> None:
    done = dev(checkout, "demo", env=environment(tools))
    assert done.returncode == 1
    assert "No Python 3.11 or newer on PATH" in done.stderr
    assert "UCMESH_PYTHON=" in done.stderr


def test_an_old_python_is_named(checkout: Path, tools: Path) -> None:
    python_stub(tools, '[ "$1" = --version ] && { echo Python 3.9.2; exit; }; exit 1')
    done = dev(checkout, "setup", env=environment(tools))
    assert done.returncode == 1
    assert "(found: Python 3.9.2)" in done.stderr


def test_a_python_without_ensurepip_says_what_to_install(checkout: Path, tools: Path) -> None:
    python_stub(tools, 'case "$*" in *ensurepip*) exit 1 ;; --version) echo Python 3.11.2 ;; esac')
    done = dev(checkout, "setup", env=environment(tools))
    assert done.returncode == 1
    assert "has no venv or ensurepip module" in done.stderr
    assert "apt-get install python3-venv" in done.stderr


def test_no_network_is_said_and_the_next_call_goes_on_where_it_stopped(checkout: Path, tmp_path: Path) -> None:
    done = dev(checkout, "setup", env=no_network(tmp_path))
    assert done.returncode == 1
    assert "A package index was not reached." in done.stderr
    assert "it goes on where it stopped" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout / ".ucmesh" / "setup.lock").exists()
    again = dev(checkout, "setup", env=no_network(tmp_path))
    assert "environment (.venv" not in again.stderr


def test_a_broken_environment_is_made_anew(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").write_text("half a file")
    done = dev(checkout, "setup", env=no_network(tmp_path))
    assert ".venv is unusable" in done.stderr
    assert (checkout / ".venv" / "pyvenv.cfg").exists()


def test_a_setup_that_was_killed_does_not_block_the_next(checkout: Path, tmp_path: Path) -> None:
    first = subprocess.Popen(
        ["sh", "./dev", "setup"], cwd=checkout, env=no_network(tmp_path), start_new_session=True, stderr=subprocess.PIPE
    )
    eventually_sync((checkout / ".ucmesh" / "setup.lock" / "pid").exists, what="the setup's lock")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=10)
    await_gone([first.pid])
    done = dev(checkout, "setup", env=no_network(tmp_path))
    assert "A package index was not reached." in done.stderr


def test_a_folder_that_cannot_be_written_is_said(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = dev(checkout, "setup", env=environment(os.environ["PATH"], UCMESH_HOME=str(tmp_path / "file" / "home")))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_a_warm_call_costs_next_to_nothing(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/bin/true")
    stamp = subprocess.run(
        ["sh", "-c", f". ./dev help >/dev/null; cd '{checkout}'; stamp"],
        cwd=checkout,
        env=environment(os.environ["PATH"]),
        capture_output=True,
        text=True,
        check=True,
    )
    (checkout / ".venv" / ".setup-done").write_text(stamp.stdout)
    took = []
    for _ in range(3):
        began = time.monotonic()
        done = dev(checkout, "setup", env=environment(os.environ["PATH"]))
        took.append(time.monotonic() - began)
        assert done.stderr == "Ready: ./dev demo\n"
    assert min(took) < 0.3


def test_an_unknown_command_shows_what_there_is(checkout: Path) -> None:
    done = dev(checkout, "deploy", env=environment(os.environ["PATH"]))
    assert done.returncode == 1
    assert "unknown command: deploy" in done.stderr
    assert "usage: ./dev COMMAND" in done.stderr
