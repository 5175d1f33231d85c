"""Graph's refusals. Owns the exact codes and texts; every rule of this face raises one of these."""

from collections.abc import Mapping, Sequence


class GraphError(Exception):
    """An answer other than success; `details` become `error.details`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[Mapping[str, object]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = dict(headers or {})

    def body(self, *, date: str, request_id: str, client_request_id: str) -> dict[str, object]:
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.details:
            error["details"] = list(self.details)
        error["innerError"] = {"date": date, "request-id": request_id, "client-request-id": client_request_id}
        return {"error": error}


def bad_request(
    message: str, code: str = "Request_BadRequest", *, details: Sequence[Mapping[str, object]] | None = None
) -> GraphError:
    return GraphError(400, code, message, details=details)


def not_found(object_id: str) -> GraphError:
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{object_id}' does not exist or one of its queried reference-property objects are not present.",
    )


def denied() -> GraphError:
    return GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def conflict(target: str) -> GraphError:
    message = f"Another object with the same value for property {target} already exists."
    return bad_request(message, details=[{"code": "ObjectConflict", "target": target, "message": message}])


def invalid_domain() -> GraphError:
    message = (
        "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain "
        "names in your organization."
    )
    return bad_request(message, details=[{"code": "InvalidValue", "target": "userPrincipalName", "message": message}])


def unsupported_query() -> GraphError:
    return GraphError(400, "Request_UnsupportedQuery", "Unsupported Query.")


def invalid_token(message: str) -> GraphError:
    return GraphError(401, "InvalidAuthenticationToken", message)


def unknown_segment(segment: str) -> GraphError:
    return GraphError(400, "BadRequest", f"Resource not found for the segment '{segment}'.")


def synced_object() -> GraphError:
    return bad_request(
        "Unable to update the specified properties for on-premises mastered Directory Sync objects or objects "
        "currently undergoing migration."
    )
