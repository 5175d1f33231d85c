"""One cmdlet call as the module rules see it. Owns case-insensitive parameters and the warning stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ucmesh_simulator.identity.signing import Caller
from ucmesh_simulator.tenant import Tenant

# Bound by PowerShell itself or without meaning for the service.
COMMON = frozenset({
    "verbose", "debug", "erroraction", "warningaction", "informationaction", "progressaction", "errorvariable",
    "warningvariable", "informationvariable", "outvariable", "outbuffer", "pipelinevariable", "confirm", "whatif",
})  # fmt: skip


@dataclass(slots=True)
class CmdletCall:
    """`given` is what the host sent, `parameters` the same under lower-case names."""

    tenant: Tenant
    caller: Caller
    cmdlet: str
    given: Mapping[str, Any]
    request_id: str
    warnings: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = {name.lower(): value for name, value in self.given.items()}

    def text(self, name: str) -> str | None:
        """The value as text; None when absent, null or empty."""
        value = self.parameters.get(name.lower())
        return None if value is None or value == "" else str(value)

    def flag(self, name: str) -> bool:
        return self.parameters.get(name.lower()) is True

    def has(self, name: str) -> bool:
        return name.lower() in self.parameters

    def number(self, name: str) -> int | None:
        value = self.parameters.get(name.lower())
        return int(value) if isinstance(value, int | float | str) and str(value).isdecimal() else None

    def list_of(self, name: str) -> list[str]:
        value = self.parameters.get(name.lower())
        if value is None:
            return []
        return [str(one) for one in value] if isinstance(value, list) else [str(value)]

    @property
    def what_if(self) -> bool:
        return self.flag("whatif")


Output = Sequence[Mapping[str, Any]]
