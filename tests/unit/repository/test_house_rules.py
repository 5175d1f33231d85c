"""House rules that no linter knows: sizes, names, docstrings, where a transaction ends, what a library may say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60
NAMES_THAT_SAY_NOTHING = {"common", "utils", "util", "helpers", "helper", "base", "misc", "manager", "processor"}
BUSINESS = re.compile(
    r"licen[cs]e|joiner|leaver|employee|mailbox|\bupn\b|phone_?number|teams|exchange|pwsh|certificate_", re.I
)
COMMITS_HERE = {"libs/mesh-runtime/src/mesh_runtime/migrations.py"}
OFFSETS = re.compile(r"\b_?consumer\.commit\(")


def modules() -> Iterator[Path]:
    for top in ("libs", "services", "simulator", "cli", "embedded"):
        yield from sorted((ROOT / top).glob("**/src/**/*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def own_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without those of the functions inside: a factory of routes is as long as its routes are many."""
    inner = [n for n in function.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return length(function) - sum(length(one) for one in inner)


def length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_there_is_something_to_hold_the_rules() -> None:
    assert len(list(modules())) > 50


def test_modules_and_functions_fit_a_mind() -> None:
    long = []
    for path in modules():
        text = path.read_text()
        if len(text.splitlines()) > MODULE_LINES_MAX:
            long.append(name(path))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = own_lines(node)
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{name(path)}:{node.name} ({lines} lines)")
    assert long == []


def test_every_module_says_what_it_owns() -> None:
    silent = [p for p in modules() if (text := p.read_text().strip()) and not ast.get_docstring(ast.parse(text))]
    assert [name(path) for path in silent] == []


def test_no_module_is_a_drawer() -> None:
    drawers = [p for p in modules() if NAMES_THAT_SAY_NOTHING & {p.stem, p.parent.name}]
    assert [name(path) for path in drawers] == []


@pytest.mark.parametrize("library", ["mesh-runtime", "mesh-messaging"])
def test_a_library_knows_no_business(library: str) -> None:
    """Identifiers and strings, not words in docstrings: `tenant` is the one extension attribute they may name."""
    found = []
    for path in sorted((ROOT / "libs" / library / "src").glob("**/*.py")):
        tree = ast.parse(path.read_text())
        names = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
        names += [
            n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        names += [n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)]
        found += [f"{name(path)}: {one}" for one in names if BUSINESS.search(one)]
    assert found == []


def test_only_the_unit_of_work_commits() -> None:
    found = [
        name(path)
        for path in modules()
        if path.is_relative_to(ROOT / "services") or path.is_relative_to(ROOT / "libs")
        if name(path) not in COMMITS_HERE and ".commit(" in OFFSETS.sub("", path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("lock", ["requirements.lock", "contracts/asyncapi-check/package-lock.json"])
def test_a_lock_holds_names_versions_and_hashes_only(lock: str) -> None:
    """npm writes addresses of sponsors too: `npm run lock` in that folder leaves them out."""
    text = (ROOT / lock).read_text("utf-8")
    assert re.findall(r"https?://\S+", text) == []
    assert '"resolved"' not in text
