"""What clients sent to a tenant, newest last. Owns a bounded record and the masking of passwords; refuses to grow past
its size."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from ucmesh_simulator.clock import iso

SECRET_KEYS = frozenset({"password", "passwordprofile", "client_secret", "client_assertion", "proof", "secrettext"})


@dataclass(slots=True)
class LoggedRequest:
    at: float
    face: str  # "login", "graph" or "powershell"
    method: str
    path: str
    status: int
    code: str | None  # error.code, AADSTS number or FullyQualifiedErrorId
    client_id: str | None
    request_id: str
    client_request_id: str | None
    in_batch: bool = False
    body: object = None
    fault: str | None = None

    def as_dict(self) -> dict[str, object]:
        return {
            "at": iso(self.at),
            "at_seconds": self.at,
            "face": self.face,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "code": self.code,
            "client_id": self.client_id,
            "request_id": self.request_id,
            "client_request_id": self.client_request_id,
            "in_batch": self.in_batch,
            "body": masked(self.body),
            "fault": self.fault,
        }


class RequestsLog:
    """Keeps the last `kept_max` requests and counts all: `graph POST 201`, `powershell Set-Mailbox 200`."""

    def __init__(self, kept_max: int, counts: Mapping[str, int] | None = None) -> None:
        self.kept_max = kept_max
        self.counts: Counter[str] = Counter(counts)
        self._entries: deque[LoggedRequest] = deque(maxlen=kept_max)

    def add(self, entry: LoggedRequest) -> None:
        self._entries.append(entry)
        what = entry.path.rsplit("/", 1)[-1] if entry.face == "powershell" else entry.method
        self.counts[f"{entry.face} {what} {entry.status}"] += 1

    def entries(self, *, face: str | None = None, limit: int | None = None) -> list[LoggedRequest]:
        found = [entry for entry in self._entries if face is None or entry.face == face]
        return found if limit is None else found[-limit:]

    def clear(self) -> None:
        self._entries.clear()
        self.counts.clear()


def masked(value: object) -> object:
    """A copy with everything that looks like a secret replaced, whatever the depth."""
    if isinstance(value, Mapping):
        return {key: "***" if str(key).lower() in SECRET_KEYS else masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return value
