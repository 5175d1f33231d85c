"""Entra's token errors. Owns the table number → (error, HTTP status) and the body's shape."""

import time

# number: (OAuth error, HTTP status)
CODES: dict[int, tuple[str, int]] = {
    700027: ("invalid_client", 401),
    50012: ("invalid_client", 401),
    50027: ("invalid_client", 401),
    700024: ("invalid_client", 401),
    7000215: ("invalid_client", 401),
    7000222: ("invalid_client", 401),
    7000218: ("invalid_request", 400),
    700016: ("unauthorized_client", 400),
    7000112: ("unauthorized_client", 400),
    90002: ("invalid_request", 400),
    900023: ("invalid_request", 400),
    9001023: ("invalid_grant", 400),
    70011: ("invalid_scope", 400),
    500011: ("invalid_resource", 400),
    28000: ("invalid_request", 400),
    900144: ("invalid_request", 400),
    70003: ("unsupported_grant_type", 400),
    90033: ("temporarily_unavailable", 503),
    90055: ("temporarily_unavailable", 429),
}
_LOOKED_UP = frozenset({700027, 50012, 50027, 700024, 7000215, 7000222, 7000218, 700016, 90002, 70011})


class TokenError(Exception):
    """A refused token request; `number` is the AADSTS number."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number
        self.text = text
        self.error, self.status = CODES[number]

    def body(self, *, at: float, trace_id: str, correlation_id: str) -> dict[str, object]:
        stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
        tail = f" Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {stamp}"
        body: dict[str, object] = {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.text}{tail}",
            "error_codes": [self.number],
            "timestamp": stamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
        }
        if self.number in _LOOKED_UP:
            body["error_uri"] = f"https://login.microsoftonline.com/error?code={self.number}"
        return body


def application_not_found(client_id: str, tenant_name: str) -> TokenError:
    return TokenError(
        700016,
        f"Application with identifier '{client_id}' was not found in the directory '{tenant_name}'. This can happen "
        "if the application has not been installed by the administrator of the tenant or consented to by any user "
        "in the tenant. You may have sent your authentication request to the wrong tenant.",
    )


def tenant_not_found(name: str) -> TokenError:
    return TokenError(
        90002,
        f"Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant.",
    )


def assertion_refused(client_id: str, reason: str) -> TokenError:
    return TokenError(
        700027,
        f"Client assertion contains an invalid signature. [Reason - {reason}, Please visit the Azure Portal, Graph "
        f"Explorer or directly use MS Graph to see configured keys for app Id '{client_id}'. Review the "
        "documentation at https://docs.microsoft.com/en-us/graph/deployments to determine the corresponding service "
        "endpoint and https://docs.microsoft.com/en-us/graph/api/application-get?view=graph-rest-1.0&tabs=http to "
        f"build a query request URL, such as 'https://graph.microsoft.com/beta/applications/{client_id}'].",
    )
