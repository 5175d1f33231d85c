"""Error frames as the gateway's own script writes them. Owns the texts and ids PowerShell itself uses for binding."""

from collections.abc import Mapping

# PowerShell wraps its own errors in this class on the way out of a pipeline.
PARENT = "System.Management.Automation.ParentContainsErrorRecordException"
TEXT_LENGTH_MAX = 4000


class HostError(Exception):
    """An error that becomes the frame's `error`."""

    def __init__(self, frame: Mapping[str, object]) -> None:
        super().__init__(str(frame.get("message", "")))
        self.frame = dict(frame)


def limited(value: object) -> str:
    return "" if value is None else str(value)[:TEXT_LENGTH_MAX]


def own(error_id: str, message: str, category: str = "InvalidOperation") -> HostError:
    """What the host says by itself, e.g. UcmeshTenantMismatch."""
    return HostError(_frame(message=message, fqid=error_id, category=category))


def not_allowed(message: str) -> HostError:
    return own("UcmeshNotAllowed", message)


def binding(cmdlet: str, error_id: str, message: str, category: str) -> HostError:
    return HostError(
        _frame(
            message=message,
            type=PARENT,
            fqid=f"{error_id},{cmdlet}",
            category=category,
            reason=PARENT.rsplit(".", 1)[-1],
            cmdlet=cmdlet,
        )
    )


def command_not_found(name: str) -> HostError:
    message = (
        f"The term '{name}' is not recognized as a name of a cmdlet, function, script file, or executable program.\n"
        "Check the spelling of the name, or if a path was included, verify that the path is correct and try again."
    )
    return HostError(
        _frame(
            message=message,
            type=PARENT,
            fqid="CommandNotFoundException",
            category="ObjectNotFound",
            reason=PARENT.rsplit(".", 1)[-1],
            target=name,
            cmdlet=name,
        )
    )


def from_service(cmdlet: str, error: Mapping[str, object]) -> HostError:
    """The simulator's error body as the stub module would have thrown it."""
    fqid = str(error.get("fqid", ""))
    frame = _frame(
        message=limited(error.get("message")),
        type=str(error.get("exception_type", "System.Exception")),
        fqid=limited(fqid),
        category=str(error.get("category", "NotSpecified")),
        reason=limited(error.get("reason")),
        target=limited(error.get("target")),
        details=limited(error.get("details")),
        cmdlet="Write-ErrorMessage" if fqid.endswith(",Write-ErrorMessage") else cmdlet,
    )
    for name in ("http", "retry_after_seconds"):
        if error.get(name) is not None:
            frame[name] = error[name]
    return HostError(frame)


def connection_lost(cmdlet: str) -> HostError:
    return HostError(
        _frame(
            message="An error occurred while sending the request.",
            type="System.Net.Http.HttpRequestException",
            fqid="System.Net.Http.HttpRequestException",
            category="ConnectionError",
            reason="HttpRequestException",
            cmdlet=cmdlet,
        )
    )


def _frame(**fields: object) -> dict[str, object]:
    empty = dict.fromkeys(("message", "type", "fqid", "category", "reason", "target", "details", "cmdlet"), "")
    return {**empty, **fields}
