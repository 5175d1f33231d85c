"""Names as they may stand in a path or a query, and the keys of list cursors.

Owns their shapes: a name that could not exist is refused before it reaches the database.
"""

from typing import Annotated

from fastapi import Path, Query

from mesh_runtime.errors import InvalidInput
from mesh_runtime.paging import decode_cursor

VERSION_MAX = 2**63 - 1
NO_CONTROL = r"^[^\x00-\x1f\x7f]+$"

CustomerPath = Annotated[str, Path(max_length=63, pattern=NO_CONTROL, description="Customer name as configured")]
EmployeePath = Annotated[str, Path(max_length=64, pattern=NO_CONTROL, description="HR's key of the person")]
TenantPath = Annotated[str, Path(max_length=64, pattern=NO_CONTROL, description="Microsoft Entra tenant id")]
NumberPath = Annotated[str, Path(max_length=20, pattern=r"^\+[0-9]+$", description="Number in E.164, +41445551000")]
NameQuery = Annotated[str | None, Query(max_length=64, pattern=NO_CONTROL)]


def text_key(after: str | None, count: int) -> tuple[str, ...] | None:
    """The texts in a cursor; None for the first page. Raises InvalidInput for a cursor that is none of ours."""
    if after is None:
        return None
    key = tuple(str(part) for part in decode_cursor(after, (str,) * count))
    if any("\x00" in part for part in key):
        raise _not_ours()
    return key


def version_key(after: str | None) -> tuple[int, str, str] | None:
    """The same for (version, text, text)."""
    if after is None:
        return None
    version, *texts = decode_cursor(after, (int, str, str))
    if not isinstance(version, int) or not 0 <= version <= VERSION_MAX or any("\x00" in str(each) for each in texts):
        raise _not_ours()
    return version, str(texts[0]), str(texts[1])


def _not_ours() -> InvalidInput:
    return InvalidInput("the cursor is not one this list gave out", code="cursor-invalid", remedy="Start without it.")
