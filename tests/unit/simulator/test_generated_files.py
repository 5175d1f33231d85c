"""The generated stub modules are up to date."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]


def tool(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, ROOT / "simulator/tools" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_stub_modules_are_what_the_generator_writes() -> None:
    rendered = tool("generate_modules").render_all()

    for path, text in rendered.items():
        assert (ROOT / "simulator/modules" / path).read_text(encoding="utf-8") == text, f"run the generator: {path}"
