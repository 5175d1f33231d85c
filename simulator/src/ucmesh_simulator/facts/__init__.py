"""Facts copied from Microsoft's public documents by `simulator/tools/copy_facts.py`. Owns loading; refuses nothing."""

from functools import cache
from importlib.resources import files
from typing import Any

import orjson


@cache
def load(name: str) -> dict[str, Any]:
    """The parsed file `name` of this folder, e.g. `permissions.json`; shared, so never changed by callers."""
    loaded: dict[str, Any] = orjson.loads((files(__name__) / name).read_bytes())
    return loaded
