"""Error records as the hosts rebuild them. Owns the shapes of Microsoft's records: type, FullyQualifiedErrorId,
category, reason.

Where a record is documented or was seen on a live tenant it is reproduced verbatim; README.md lists which parts are
from memory."""

from collections.abc import Mapping

SYSTEM_EXCEPTION = "System.Exception"
TEAMS_GENERATED = "Microsoft.Teams.ConfigAPI.Cmdlets.Generated"


class CmdletError(Exception):
    """What the cmdlet throws. `http` is the status behind it, `target` the record's target object."""

    def __init__(
        self,
        message: str,
        *,
        fqid: str,
        exception_type: str = SYSTEM_EXCEPTION,
        category: str = "InvalidOperation",
        reason: str | None = None,
        activity: str | None = None,
        details: str = "",
        target: str = "",
        http: int | None = None,
        status: int = 400,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fqid = fqid
        self.exception_type = exception_type
        self.category = category
        self.reason = reason if reason is not None else exception_type.rsplit(".", 1)[-1].split("`", 1)[0]
        self.activity = activity
        self.details = details
        self.target = target
        self.http = http
        self.status = status
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> dict[str, object]:
        return {
            "error": {
                "message": self.message,
                "exception_type": self.exception_type,
                "fqid": self.fqid,
                "category": self.category,
                "reason": self.reason,
                "activity": self.activity,
                "details": self.details,
                "target": self.target,
                "http": self.http,
                "retry_after_seconds": self.retry_after_seconds,
            }
        }


def from_fault(error: Mapping[str, object]) -> CmdletError:
    """The record a test asked for; missing fields get plain values."""
    http = error.get("http")
    retry_after = error.get("retry_after_seconds")
    return CmdletError(
        str(error.get("message", "The operation failed.")),
        fqid=str(error.get("fqid", "SimulatedFault")),
        exception_type=str(error.get("exception_type", SYSTEM_EXCEPTION)),
        category=str(error.get("category", "NotSpecified")),
        reason=str(error["reason"]) if error.get("reason") else None,
        details=str(error.get("details", "")),
        http=http if isinstance(http, int) else None,
        status=http if isinstance(http, int) and 400 <= http < 600 else 400,
        retry_after_seconds=float(retry_after) if isinstance(retry_after, int | float) else None,
    )


# -- Teams -------------------------------------------------------------------------------------------------------------
def generated(cmdlet: str, code: str, message: str, *, http: int = 400) -> CmdletError:
    """A generated Teams cmdlet's RestException, e.g. `BadRequest,…SetCsPhoneNumberAssignment_Set`."""
    variant = f"{cmdlet}_{cmdlet.partition('-')[0]}"
    return CmdletError(
        message,
        fqid=f"{code},{TEAMS_GENERATED}.Cmdlets.{variant.replace('-', '')}",
        exception_type=f"{TEAMS_GENERATED}.Runtime.RestException",
        activity=variant,
        http=http,
        status=http,
    )


def user_not_in_teams(cmdlet: str) -> CmdletError:
    """What number cmdlets say about a user Teams does not know (yet)."""
    variant = f"{cmdlet}_{cmdlet.partition('-')[0]}"
    return CmdletError(
        "The server responded with a Request Error, Status: NotFound",
        fqid=f"NotFound,{TEAMS_GENERATED}.Cmdlets.{variant.replace('-', '')}",
        exception_type=f"{TEAMS_GENERATED}.Runtime.UndeclaredResponseException",
        activity=variant,
        http=404,
        status=404,
    )


def management_object_not_found(cmdlet: str, identity: str) -> CmdletError:
    """What Get-CsOnlineUser and the grants say about a user Teams does not know (yet)."""
    return CmdletError(
        f'Management object not found for identity "{identity}".',
        fqid=f"NotFound,Microsoft.Teams.ConfigApi.Cmdlets.{cmdlet.replace('-', '')}",
        activity=cmdlet,
        http=404,
        status=404,
    )


def client_error(cmdlet: str, message: str) -> CmdletError:
    """A grant cmdlet's refusal, `ClientError,Microsoft.Teams.ConfigApi.Cmdlets.Grant…`."""
    return CmdletError(
        message,
        fqid=f"ClientError,Microsoft.Teams.ConfigApi.Cmdlets.{cmdlet.replace('-', '')}",
        activity=cmdlet,
        http=400,
    )


def teams_forbidden(cmdlet: str, correlation_id: str) -> CmdletError:
    return CmdletError(
        '{"code":"Forbidden","message":"You are not authorized to perform this action","action":"Please refer to '
        f'documentation. CorrelationId: {correlation_id}","errorCode":40301}}',
        fqid=f"Forbidden,Microsoft.Teams.ConfigApi.Cmdlets.{cmdlet.replace('-', '')}",
        category="PermissionDenied",
        activity=cmdlet,
        http=403,
        status=403,
    )


def access_denied(cmdlet: str) -> CmdletError:
    return CmdletError(
        "Access Denied.",
        fqid=f"AccessDenied,Microsoft.Teams.ConfigApi.Cmdlets.{cmdlet.replace('-', '')}",
        category="PermissionDenied",
        activity=cmdlet,
        http=403,
        status=403,
    )


# -- Exchange ----------------------------------------------------------------------------------------------------------
def exchange_error(cmdlet: str, code: str, exception: str, text: str, *, request_id: str, stamp: str) -> CmdletError:
    """`Ex……|Type|text` through the module's own Write-ErrorMessage: non-terminating unless the caller says Stop."""
    return CmdletError(
        f"{code}|{exception}|{text}",
        fqid=f"[Server=SIM0000MB0001,RequestId={request_id},TimeStamp={stamp}],Write-ErrorMessage",
        category="NotSpecified",
        reason=exception.rsplit(".", 1)[-1],
        activity=cmdlet,
        http=400,
    )


def rest_client_error(cmdlet: str, status: int, body: str) -> CmdletError:
    """The Get-EXO* cmdlets wrap the service's JSON in their message."""
    kind = f"GetExo{cmdlet.removeprefix('Get-EXO')}"
    return CmdletError(
        f"Error while querying REST service. HttpStatusCode={status} ErrorMessage={body}",
        fqid=f"An error occurred while processing this request.,Microsoft.Exchange.Management.RestApiClient.{kind}",
        exception_type="Microsoft.Exchange.Management.RestApiClient.RestClientException",
        category="ProtocolError",
        activity=cmdlet,
        http=status,
        status=status,
    )


def expired_token() -> CmdletError:
    """The hosts renew and try once more on this status; it reaches a caller only when renewal does not help."""
    return CmdletError(
        "The access token has expired or is not yet valid.",
        fqid="Authentication_ExpiredToken",
        category="AuthenticationError",
        http=401,
        status=401,
    )
