"""Every delay, probability and limit that can be turned. Owns the defaults and their validation; refuses unknown names
and values outside their range. The defaults are engineering choices inside the ranges Microsoft documents, not measured
figures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace


class KnobError(ValueError):
    """A knob name or value that does not exist or makes no sense; the text says which."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """Units are last in the name. Zero switches a delay off."""

    replica_lag_seconds: float = 5.0  # after create: a GET by id may land on a replica that has not seen the object
    replica_miss_probability: float = 0.3  # share of such reads that answer 404 inside the lag; 1 = all
    reference_lag_seconds: float = 5.0  # after create: $ref, assignLicense and PATCH answer 404
    index_lag_seconds: float = 10.0  # after create or change: lists and $filter do not show it
    units_lag_seconds: float = 60.0  # subscribedSkus.consumedUnits follows the real count
    key_propagation_seconds: float = (
        30.0  # a new certificate is unknown to the token service, a removed one still works
    )
    mailbox_provisioning_seconds: float = 900.0  # licence -> mailbox exists
    mailbox_conversion_seconds: float = 60.0  # Set-Mailbox -Type -> RecipientTypeDetails shows it
    teams_provisioning_seconds: float = 300.0  # licence -> Teams knows the user and the feature
    attribute_sync_seconds: float = 300.0  # Graph attribute change -> Teams and Exchange show it
    policy_visibility_seconds: float = 180.0  # new policy -> grantable
    grant_effect_seconds: float = 30.0  # Grant-* -> Get-CsOnlineUser shows it
    provisioning_jitter: float = 0.2  # provisioning delays vary by this share around their value (seeded)
    token_lifetime_seconds: float = 3599.0
    graph_latency_seconds: float = 0.0  # answer time of one Graph request (a $batch counts once)
    powershell_latency_seconds: float = 0.0  # answer time of one cmdlet
    throttling: bool = True  # the published Graph limits
    retry_after: bool = True  # 429 answers carry Retry-After
    batch_order_random: bool = True  # $batch answers in arbitrary order
    throttled_but_applied_probability: float = 0.0  # a throttled write inside $batch was done all the same
    server_error_probability: float = 0.0  # a cmdlet answers the generic server side error

    def patched(self, changes: Mapping[str, object]) -> "Knobs":
        """A copy with `changes`; `{"zero_latency": true}` is a preset applied first. Raises KnobError."""
        changes = dict(changes)
        base = self
        if changes.pop("zero_latency", False):
            base = replace(base, **_ZERO_LATENCY)  # type: ignore[arg-type]
        kinds = {field.name: field.type for field in fields(Knobs)}
        clean: dict[str, float | bool] = {}
        for name, value in changes.items():
            if name not in kinds:
                raise KnobError(f"there is no knob {name!r}; known: {', '.join(sorted(kinds))}")
            clean[name] = _checked(name, kinds[name], value)
        return replace(base, **clean)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, float | bool]:
        return asdict(self)


_ZERO_LATENCY: dict[str, float | bool] = {
    name: 0.0
    for name in (field.name for field in fields(Knobs))
    if name.endswith("_seconds") and name != "token_lifetime_seconds"
} | {"throttling": False, "replica_miss_probability": 0.0, "provisioning_jitter": 0.0, "batch_order_random": False}


def _checked(name: str, kind: object, value: object) -> float | bool:
    if kind is bool:
        if not isinstance(value, bool):
            raise KnobError(f"{name} is true or false, not {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise KnobError(f"{name} is a number of at least 0, not {value!r}")
    if name.endswith(("_probability", "_jitter")) and value > 1:
        raise KnobError(f"{name} lies between 0 and 1, not {value!r}")
    return float(value)
