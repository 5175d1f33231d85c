"""`./dev lock` without a package index: a small workspace, and packages in a folder."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROJECT = """
[project]
name = "root"
version = "1"
requires-python = ">=3.11"
[tool.uv.workspace]
members = [
    "member",
]
[tool.uv.sources]
ucmesh-member = { workspace = true }
[dependency-groups]
members = ["ucmesh-member"]
dev = []
bench = []
"""
MEMBER = """
[project]
name = "ucmesh-member"
version = "1"
dependencies = [DEPENDENCIES]
"""


def wheel(folder: Path, name: str, version: str) -> str:
    """Makes a package; its hash."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for file, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{file},sha256={digest},{len(text)}\n")
    files[f"{info}/RECORD"] = "".join(lines) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Workspace:
    """A checkout that `./dev` believes to be set up."""

    def __init__(self, root: Path) -> None:
        self.root, self.packages = root / "checkout", root / "packages"
        self.packages.mkdir()
        bin_ = self.root / ".venv" / "bin"
        bin_.mkdir(parents=True)
        (bin_ / "python").symlink_to(sys.executable)
        (bin_ / "uv").symlink_to(Path(sys.executable).with_name("uv"))
        (self.root / "member").mkdir()
        (self.root / "embedded/src/ucmesh_embedded").mkdir(parents=True)
        (self.root / "embedded/src/ucmesh_embedded/jars.sha256").touch()
        (self.root / "pyproject.toml").write_text(PROJECT)
        shutil.copy(ROOT / "dev", self.root)

    def lock(self, dependencies: str, pinned: str) -> str:
        (self.root / "member" / "pyproject.toml").write_text(MEMBER.replace("DEPENDENCIES", dependencies))
        lock = self.root / "requirements.lock"
        lock.write_text(pinned)
        seen = ("dev", "requirements.lock", "embedded/src/ucmesh_embedded/jars.sha256", "member/pyproject.toml")
        sums = subprocess.run(["cksum", *seen], cwd=self.root, capture_output=True, text=True, check=True).stdout
        (self.root / ".venv" / ".setup-done").write_text(f"{self.root}\n{sums}")
        environment = os.environ | {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.packages), "UV_NO_CONFIG": "1"}
        done = subprocess.run(
            ["./dev", "lock"], cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Setting up" not in done.stderr
        return lock.read_text()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_pins_stay_and_only_what_is_new_is_added(workspace: Workspace) -> None:
    digest = wheel(workspace.packages, "thing", "1.0")
    pinned = f"thing==1.0 \\\n    --hash=sha256:{digest}\n"
    for name, version in (("thing", "2.0"), ("other", "3.0"), ("other", "4.0")):
        wheel(workspace.packages, name, version)
    written = workspace.lock('"thing", "other"', pinned)
    assert "thing==1.0" in written
    assert "other==4.0" in written
    assert digest in written
    assert str(workspace.packages) not in written
    assert "member" not in "".join(line for line in written.splitlines() if not line.lstrip().startswith("#"))


def test_a_pin_moves_when_it_must_and_goes_when_nobody_wants_it(workspace: Workspace) -> None:
    for name, version in (("thing", "1.0"), ("thing", "2.0"), ("other", "3.0")):
        wheel(workspace.packages, name, version)
    written = workspace.lock('"thing>=2"', "thing==1.0\nother==3.0\n")
    assert "thing==2.0" in written
    assert "other" not in written
