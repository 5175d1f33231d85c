"""Messages the rules consume and publish: HR events and credential events in, commands to cert-manager out.

Owns the mapping between the wire (contracts/) and the domain. Refuses to be strict about what it does not need: unknown
fields of an event are kept and ignored.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from mesh_messaging.envelope import CloudEvent
from mesh_runtime.errors import InvalidInput
from orchestrator.domain.hr_event import HrEvent
from orchestrator.domain.stores import CredentialNews, CredentialOrder

CONSUMER = "orchestrator"

HR_TOPIC = "ucmesh.hr.lifecycle.v1"
CERTIFICATES_TOPIC = "ucmesh.certificates.v1"
CERTS_COMMANDS_TOPIC = "ucmesh.certs.commands.v1"

PERSON_JOINED = "ucmesh.hr.person.v1.joined"
PERSON_CHANGED = "ucmesh.hr.person.v1.changed"
HR_KINDS = {PERSON_JOINED: "joined", PERSON_CHANGED: "changed"}
CREDENTIAL_ENSURE = "ucmesh.certs.credential.v1.ensure"
CREDENTIAL_ACTIVATED = "ucmesh.certs.credential.v1.activated"
CREDENTIAL_FAILED = "ucmesh.certs.credential.v1.failed"

SEQUENCE_MAX = 2**63 - 1
EARLIEST, LATEST = date(1900, 1, 1), date(2200, 1, 1)


Text64 = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Text128 = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Text256 = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class PersonData(BaseModel):
    """What HR knows about the person now: the full state, not a difference."""

    model_config = ConfigDict(extra="allow")

    given_name: Text64
    surname: Text64
    display_name: Text256 | None = None
    job_title: Text128 | None = None
    department: Text64 | None = None
    company: Text64 | None = None
    office: Text128 | None = None
    city: Text128 | None = None
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = None
    manager_employee_id: Text64 | None = None
    mobile_phone: Text64 | None = None
    business_phone: Text64 | None = None
    preferred_language: Annotated[str, StringConstraints(min_length=1, max_length=35)] | None = None
    attributes: dict[str, str] = {}


class HrEventData(BaseModel):
    """Data of `ucmesh.hr.person.v1.joined` and `.changed`; the highest sequence wins, whatever arrives first."""

    model_config = ConfigDict(extra="allow")

    customer: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    employee_id: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
    sequence: Annotated[int, Field(ge=0, le=SEQUENCE_MAX, strict=True)]
    effective_date: Annotated[date, Field(strict=True, ge=EARLIEST, le=LATEST)] | None = Field(
        None, description="Start date in the time zone of the person's site"
    )
    person: PersonData


def hr_event(event: CloudEvent) -> HrEvent:
    """Raises InvalidInput that names every bad field, never its value."""
    kind = HR_KINDS.get(event.type)
    if kind is None:
        raise InvalidInput(
            f"type {event.type[:120]!r} is not an HR event",
            code="event-type-unknown",
            remedy=f"Send {PERSON_JOINED} or {PERSON_CHANGED}.",
        )
    return hr_event_of(event.data, source=event.source, event_id=event.id, kind=kind, traceparent=event.traceparent)


def hr_event_of(data: bytes, *, source: str, event_id: str, kind: str, traceparent: str | None = None) -> HrEvent:
    """The same from the data alone. Raises InvalidInput."""
    if b"\\u0000" in data and _has_nul(orjson.loads(data)):
        raise InvalidInput(
            "the event has a NUL character, which no text may contain",
            code="hr-event-invalid",
            remedy="Remove it and send or replay the event.",
        )
    try:
        parsed = HrEventData.model_validate_json(data)
    except ValidationError as error:
        raise InvalidInput(
            "; ".join(f"{_pointer(entry['loc'])}: {entry['msg']}" for entry in error.errors(include_input=False)[:20]),
            code="hr-event-invalid",
            remedy="Correct the named fields and send or replay the event.",
        ) from error
    return HrEvent(
        source=source,
        event_id=event_id,
        kind=kind,
        customer=parsed.customer,
        employee_id=parsed.employee_id,
        sequence=parsed.sequence,
        effective_date=parsed.effective_date,
        facts=parsed.person.model_dump(exclude_none=True),
        traceparent=traceparent,
    )


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(inner) for key, inner in value.items())
    return isinstance(value, list) and any(_has_nul(inner) for inner in value)


def _pointer(path: Sequence[int | str]) -> str:
    return "".join(f"/{part}" for part in path) or "/"


class _CredentialData(BaseModel):
    model_config = ConfigDict(extra="ignore")

    tenant_id: str
    credential_id: str | None = None
    not_after: datetime | None = None
    code: str | None = None
    message: str | None = None
    remedy: str | None = None


def credential_news(event: CloudEvent) -> CredentialNews:
    """An activated or failed credential. Raises ValidationError for data off the contract."""
    data = _CredentialData.model_validate_json(event.data)
    return CredentialNews(
        tenant_id=data.tenant_id.lower(),
        works=event.type == CREDENTIAL_ACTIVATED,
        credential_id=data.credential_id,
        not_after=data.not_after,
        code=data.code,
        message=data.message,
        remedy=data.remedy,
    )


def ensure_credential(order: CredentialOrder) -> dict[str, Any]:
    """Data of `ucmesh.certs.credential.v1.ensure`."""
    return {
        "tenant_id": order.tenant_id,
        "customer": order.customer,
        "organization": order.organization,
        "client_id": order.client_id,
        "application_object_id": order.application_object_id,
        "cloud": order.cloud,
        "bootstrap_secret": order.sealed_secret,
        "policy": {"key_bits": 2048, "validity_days": 365},
    }


def hr_data(document: Mapping[str, Any]) -> bytes:
    """JSON of an event's data as a caller gave it."""
    return orjson.dumps(dict(document))
