"""Installs each member alone, from its wheel, with only what it declares at the locked versions, and imports all of it.

The shared environment hides an undeclared dependency and a file that a wheel forgot; this does not. Run by
`./dev lint`; exits 1 naming what failed.
"""

import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IMPORT_ALL = """
import importlib, pkgutil, sys
root = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
    if not module.name.endswith("__main__") and ".migrations" not in module.name:
        importlib.import_module(module.name)
"""


def main() -> int:
    members = {(ROOT / path): tomllib.loads((ROOT / path / "pyproject.toml").read_text()) for path in workspace()}
    with tempfile.TemporaryDirectory(prefix="ucmesh-isolated-") as folder:
        work = Path(folder)
        constraints = work / "constraints.txt"
        constraints.write_text("".join(locked()))
        wheels = {data["project"]["name"]: build(path, work / "wheels") for path, data in members.items()}
        with ThreadPoolExecutor(2) as pool:
            problems = list(pool.map(lambda data: check(data, wheels, work, constraints), members.values()))
    found = [problem for problem in problems if problem]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


def workspace() -> list[str]:
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"])


def locked() -> list[str]:
    """The lock without hashes: versions as constraints for the resolver."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line.removesuffix("\\").rstrip() + "\n" for line in lines if line[:1].isalnum()]


def build(member: Path, wheels: Path) -> Path:
    target = wheels / member.name
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)], cwd=member)
    return next(target.glob("*.whl"))


def check(data: dict[str, Any], wheels: dict[str, Path], work: Path, constraints: Path) -> str:
    name = data["project"]["name"]
    module = Path(data["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"][0]).name
    venv = work / name
    own = [str(wheels[one]) for one in closure(name, wheels)]
    uv = str(Path(sys.executable).with_name("uv"))
    try:
        run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)])
        python = str(venv / "bin" / "python")
        run([uv, "pip", "install", "--quiet", "--python", python, "--constraint", str(constraints), *own])
        run([python, "-I", "-c", IMPORT_ALL, module], cwd=work)
    except subprocess.CalledProcessError as error:
        return f"{name} does not stand alone:\n{error.stdout}"
    return ""


def closure(name: str, wheels: dict[str, Path]) -> list[str]:
    """The member and the members it depends on."""
    found: list[str] = []
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.append(one)
            path = next(p for p in workspace() if f"ucmesh-{Path(p).name}" == one)
            declared = tomllib.loads((ROOT / path / "pyproject.toml").read_text())["project"]["dependencies"]
            waiting += [dependency for dependency in declared if dependency in wheels]
    return found


def run(argv: list[str], cwd: Path = ROOT) -> None:
    subprocess.run(argv, cwd=cwd, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


if __name__ == "__main__":
    sys.exit(main())
