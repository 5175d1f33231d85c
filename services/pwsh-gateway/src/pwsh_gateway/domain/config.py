"""Settings of the gateway that can be changed while it runs.

Owns the keys, their bounds and their meaning. Refuses an unknown key or a value out of bounds, naming it. Where a
setting lives and who changed it is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mesh_runtime.errors import InvalidInput
from pwsh_gateway.domain.retry import RetryPolicy
from pwsh_gateway.domain.session_events import SessionLimits

OVERRIDES_COUNT_MAX = 1000
MB = 1024**2


def _number(default: float, low: float, high: float, meaning: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """One consistent set of values. The API names a field with a dot for its first underscore."""

    concurrency_global_max: int = _number(12, 1, 500, "sessions of this replica at once")
    concurrency_per_customer_max: int = _number(6, 1, 500, "sessions of one customer at once")
    concurrency_per_stream_max: int = _number(3, 1, 100, "sessions of one tenant and module at once")
    concurrency_overrides: Mapping[str, int] = field(
        default_factory=dict, metadata={"meaning": "customer -> sessions at once, instead of per_customer_max"}
    )
    session_idle_reaper: bool = field(default=True, metadata={"meaning": "end sessions that nobody uses"})
    session_idle_seconds_max: float = _number(900, 1, 86_400, "unused for this long, a session ends")
    session_age_seconds_max: float = _number(3300, 10, 86_400, "a session ends before its token does")
    session_executions_max: int = _number(500, 1, 1_000_000, "cmdlets after which a session ends")
    session_memory_soft_mb: int = _number(700, 50, 65_536, "a session beyond this ends after its visit")
    session_memory_hard_mb: int = _number(1200, 50, 65_536, "a session beyond this is killed")
    session_patience_seconds: float = _number(1, 0.05, 60, "waiting for a busy session before another one is started")
    session_connect_seconds_max: float = _number(120, 1, 900, "time to start and to connect")
    container_memory_mb_max: int = _number(8192, 100, 1_048_576, "all sessions of this replica together")
    execution_seconds_max: float = _number(600, 1, 900, "time for one cmdlet")
    execution_hang_grace_seconds: float = _number(
        10, 0.1, 300, "beyond its time, until the session of a cmdlet is killed"
    )
    execution_days_kept: int = _number(30, 1, 3650, "age at which execution log rows go")
    visit_operations_max: int = _number(20, 1, 200, "operations of one target in one visit")
    operation_days_kept: int = _number(30, 1, 3650, "age at which finished operations go")
    retry_attempts_max: int = _number(5, 1, 20, "attempts of one operation")
    retry_first_seconds: float = _number(2, 0, 600, "pause after the first attempt")
    retry_factor: float = _number(2, 1, 10, "growth of the pause")
    retry_cap_seconds: float = _number(60, 0, 3600, "longest pause")
    credential_wait_seconds_max: float = _number(120, 0, 3600, "how long an operation waits for its credential")
    credential_pause_seconds: float = _number(60, 0, 3600, "pause of a tenant whose log-in was refused")
    reads_settle_seconds: float = _number(300, 0, 3600, "how long Microsoft's reads may lag behind our writes")

    def changed(self, changes: Mapping[str, Any]) -> GatewayConfig:
        """A new set with some keys changed. Raises InvalidInput naming the key and its bounds."""
        known = {key_of(f.name): f for f in fields(self)}
        values: dict[str, Any] = {}
        for key, value in changes.items():
            if key not in known:
                raise InvalidInput(
                    f"there is no setting {key}", code="unknown-setting", detail={"known": sorted(known)}
                )
            values[known[key].name] = _checked(key, known[key], value)
        new = replace(self, **values)
        if new.session_memory_soft_mb > new.session_memory_hard_mb:
            raise InvalidInput(
                "session.memory_soft_mb must not be above session.memory_hard_mb", code="invalid-setting"
            )
        return new

    def as_keys(self) -> dict[str, Any]:
        """Every value under its API name."""
        return {key_of(f.name): getattr(self, f.name) for f in fields(self)}

    def customer_max(self, customer: str) -> int:
        """Sessions this customer may hold at once."""
        return self.concurrency_overrides.get(customer, self.concurrency_per_customer_max)

    def session_limits(self) -> SessionLimits:
        """Bounds for a session that starts now."""
        return SessionLimits(
            connect_seconds_max=self.session_connect_seconds_max,
            idle_seconds_max=self.session_idle_seconds_max if self.session_idle_reaper else float("inf"),
            age_seconds_max=self.session_age_seconds_max,
            executions_max=self.session_executions_max,
            memory_soft_bytes=self.session_memory_soft_mb * MB,
            memory_hard_bytes=self.session_memory_hard_mb * MB,
            hang_grace_seconds=self.execution_hang_grace_seconds,
        )

    def retry_policy(self) -> RetryPolicy:
        """Bounds for operations without a verdict."""
        return RetryPolicy(self.retry_attempts_max, self.retry_first_seconds, self.retry_factor, self.retry_cap_seconds)


def key_of(name: str) -> str:
    """`concurrency_global_max` is `concurrency.global_max` outside."""
    return name.replace("_", ".", 1)


def meanings() -> dict[str, str]:
    """Key -> what it means and its bounds, for people."""
    described = {}
    for f in fields(GatewayConfig):
        bounds = f" ({f.metadata['low']:g} to {f.metadata['high']:g})" if "low" in f.metadata else ""
        described[key_of(f.name)] = f"{f.metadata['meaning']}{bounds}"
    return described


def _checked(key: str, spec: Any, value: Any) -> Any:
    if key == "concurrency.overrides":
        return _overrides(key, value)
    if isinstance(spec.default, bool):
        if not isinstance(value, bool):
            raise InvalidInput(f"{key} must be true or false", code="invalid-setting", detail={"setting": key})
        return value
    whole = isinstance(spec.default, int) and spec.type == "int"
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    low, high = spec.metadata["low"], spec.metadata["high"]
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        noun = "a whole number" if whole else "a number"
        raise InvalidInput(
            f"{key} must be {noun} between {low:g} and {high:g}", code="invalid-setting", detail={"setting": key}
        )
    return value


def _overrides(key: str, value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping) or len(value) > OVERRIDES_COUNT_MAX:
        raise InvalidInput(f"{key} must map customers to numbers", code="invalid-setting", detail={"setting": key})
    for limit in value.values():
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 500:
            raise InvalidInput(f"{key} must map customers to numbers between 1 and 500", code="invalid-setting")
    return {str(customer): limit for customer, limit in value.items()}
