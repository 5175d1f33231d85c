"""The shape of template files: what may be written in YAML, checked before anything is compiled.

Owns the file format (described for authors in `templates/README.md`). Refuses unknown keys, so that a typing mistake
is an error and not a rule that never fits.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from graph_adapter.domain.recognition import Reaction
from graph_adapter.domain.template import KINDS, Repeatability

_METHODS = ("get", "post", "patch", "put", "delete")
_NAME = r"^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)*$"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class ParameterFile(_File):
    """`string`, `list?` or `{kind, required, forbid, items_min, items_max}`."""

    kind: str
    required: bool = True
    forbid: list[str] = []
    items_min: int = Field(0, ge=0)
    items_max: int = Field(1000, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"kind": value.removesuffix("?"), "required": not value.endswith("?")}
        return value

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(sorted(KINDS))}")
        return kind


class RequestFile(_File):
    """One request; exactly one of the five methods names its path."""

    get: str | None = None
    post: str | None = None
    patch: str | None = None
    put: str | None = None
    delete: str | None = None
    query: dict[str, Any] = {}
    body: Any = None
    missing: Literal["ok"] | None = None
    optional: list[str] = []
    pages: int = Field(1, ge=1, le=100)

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        if sum(getattr(self, name) is not None for name in _METHODS) != 1:
            raise ValueError(f"a request needs exactly one of {', '.join(_METHODS)}")
        if self.get is None and (self.pages > 1 or self.optional or self.missing):
            raise ValueError("only a get can have pages, be optional or be missing")
        if self.get is not None and self.body is not None:
            raise ValueError("a get has no body")
        return self

    @property
    def method(self) -> str:
        return next(name for name in _METHODS if getattr(self, name) is not None)

    @property
    def path(self) -> str:
        return str(getattr(self, self.method))


class UndoFile(_File):
    """The operation that reverses the change."""

    operation: str
    version: int
    params: dict[str, Any]


class SucceedFile(_File):
    """The good end."""

    changed: Any
    output: dict[str, Any]
    undo: UndoFile | None = None
    creates: Any = None


class EndFile(_File):
    """The other ends."""

    code: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    message: str
    remedy: str | None = None
    retryable: bool = False
    detail: dict[str, Any] = {}


class RuleFile(_File):
    """One line under `on:`."""

    error: list[str] = []
    of: str | None = None
    lost: bool = False
    status: int | None = None
    condition: Any = Field(None, alias="if")
    uncertain: bool | None = None
    go: str | None = None
    pause: bool = False
    again: bool = False
    succeed: SucceedFile | None = None
    refuse: EndFile | None = None
    fail: EndFile | None = None

    @field_validator("error", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        moves = sum((self.go is not None, self.again, self.succeed is not None))
        ends = sum((self.refuse is not None, self.fail is not None))
        if moves > 1 or ends > 1 or moves + ends == 0 or (ends and self.succeed is not None):
            raise ValueError(
                "a rule needs one of go, again, succeed, refuse, fail; refuse or fail beside go or again is the end "
                "when repeating does not help"
            )
        if self.pause and self.go is None:
            raise ValueError("pause belongs to go")
        if (self.error or self.lost) and self.status is not None:
            raise ValueError("status is for good answers")
        if self.lost and self.go is None:
            raise ValueError("a lost rule needs go")
        return self


class StepFile(_File):
    """One step."""

    request: RequestFile | None = None
    requests: dict[str, RequestFile] = {}
    created_by: Any = Field(None, alias="created-by")
    compute: dict[str, Any] = {}
    on: list[RuleFile] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _yaml_on(cls, value: Any) -> Any:
        # YAML 1.1 reads a bare `on` as true.
        if isinstance(value, dict) and True in value:
            return {("on" if key is True else key): item for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.request is not None, bool(self.requests), self.created_by is not None]
        if sum(kinds) != 1:
            raise ValueError("a step needs exactly one of request, requests, created-by")
        if any(request.method != "get" for request in self.requests.values()) and len(self.requests) > 1:
            raise ValueError("a step that writes makes one request")
        return self


class TemplateFile(_File):
    """A whole file."""

    operation: str = Field(pattern=_NAME)
    version: int = Field(ge=1)
    title: str
    repeatability: Repeatability
    permissions: list[list[str]]
    params: dict[str, ParameterFile]
    objects: list[str] = []
    first: str
    steps: dict[str, StepFile] = Field(min_length=1)


class DetailFile(_File):
    """An entry of Graph's `details` that names the error."""

    code: str
    target: str


class ErrorFile(_File):
    """One row of errors.yaml."""

    name: str
    status: list[int] = []
    graph_code: list[str] = []
    detail: DetailFile | None = None
    text: list[str] = []
    reaction: Reaction
    may_have_applied: bool = False
    code: str
    message: str
    remedy: str | None = None
    retryable: bool = False


class ErrorsFile(_File):
    """errors.yaml."""

    errors: list[ErrorFile] = Field(min_length=1)

    @model_validator(mode="after")
    def _last_fits_all(self) -> Self:
        last = self.errors[-1]
        if last.status or last.graph_code or last.detail or last.text:
            raise ValueError("the last row must fit everything")
        return self
