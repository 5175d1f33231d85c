"""JSON columns: documents go to PostgreSQL and come back as text.

Owns what jsonb cannot hold (NUL) and how rows with JSON columns become keyword arguments. Knows no table.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson
from sqlalchemy import Row

from orchestrator.domain.plan import Reason


def dump(value: Any) -> str:
    """JSON text for a jsonb column. PostgreSQL cannot hold NUL, which no name or setting needs."""
    text = orjson.dumps(value)
    return (orjson.dumps(_without_nul(value)) if b"\\u0000" in text else text).decode()


def dump_reason(reason: Reason | None) -> str | None:
    """A refusal, or why a tenant could not be read."""
    return None if reason is None else dump(asdict(reason))


def columns_of(row: Row[Any], documents: tuple[str, ...]) -> dict[str, Any]:
    """The row by column name, with the columns in `documents` read as JSON."""
    columns = dict(row._mapping)
    for name in documents:
        if columns[name] is not None:
            columns[name] = orjson.loads(columns[name])
    return columns


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(inner) for key, inner in value.items()}
    return [_without_nul(inner) for inner in value] if isinstance(value, list | tuple) else value
