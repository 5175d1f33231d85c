"""Calls to the services: bearer token, problem documents turned into errors a person can act on, pages followed."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from ucmesh_cli.errors import CliError
from ucmesh_cli.profile import Profile

TIMEOUT_SECONDS = 60.0
PAGE_SIZE = 200


class NotFoundError(CliError):
    """404: the thing that was named does not exist."""


class Api:
    """One HTTP client for all services; the token is fetched on first use."""

    def __init__(self, profile: Profile, *, transport: httpx.BaseTransport | None = None) -> None:
        self._profile = profile
        self._token = profile.token
        verify: Any = profile.ca_file or True
        self._http = httpx.Client(verify=verify, timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport)

    def get(self, service: str, path: str, **query: Any) -> Any:
        """The JSON answer; None values of the query are left out."""
        params = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", service, path, params=params)

    def post(self, service: str, path: str, body: Any = None, **query: Any) -> Any:
        """The JSON answer of a POST."""
        return self._call("POST", service, path, json=body if body is not None else {}, params=query)

    def put(self, service: str, path: str, body: Any) -> Any:
        """The JSON answer of a PUT."""
        return self._call("PUT", service, path, json=body)

    def patch(self, service: str, path: str, body: Any) -> Any:
        """The JSON answer of a PATCH."""
        return self._call("PATCH", service, path, json=body)

    def send(self, service: str, path: str, content: bytes, content_type: str) -> Any:
        """POST bytes as they are."""
        return self._call("POST", service, path, content=content, headers={"content-type": content_type})

    def pages(self, service: str, path: str, *, most: int, **query: Any) -> Iterator[dict[str, Any]]:
        """Items of all pages, at most ``most``."""
        after: str | None = None
        left = most
        while left > 0:
            page = self.get(service, path, after=after, limit=min(left, PAGE_SIZE), **query)
            yield from page["items"]
            left -= len(page["items"])
            after = page["next"]
            if after is None:
                return

    def _call(self, method: str, service: str, path: str, **arguments: Any) -> Any:
        url = self._profile.url(service) + path
        headers = {"authorization": f"Bearer {self._bearer()}", **arguments.pop("headers", {})}
        try:
            response = self._http.request(method, url, headers=headers, **arguments)
        except httpx.HTTPError as error:
            raise CliError(
                f"{service} does not answer at {self._profile.url(service)}: {error}.",
                "Is the mesh running? `./dev up` starts the embedded one.",
            ) from error
        if response.is_error:
            raise _problem(service, response)
        return response.json() if response.content else None

    def _bearer(self) -> str:
        if self._token is None:
            self._token = self._fetch_token()
        return self._token

    def _fetch_token(self) -> str:
        profile = self._profile
        if not (profile.token_url and profile.client_id and profile.client_secret):
            raise CliError(
                "Nobody is logged in.",
                "Set UCMESH_TOKEN or UCMESH_TOKEN_FILE, or UCMESH_TOKEN_URL, UCMESH_CLIENT_ID and "
                "UCMESH_CLIENT_SECRET_FILE; `./dev up` writes a profile that has them.",
            )
        form = {"grant_type": "client_credentials"}
        try:
            answer = self._http.post(profile.token_url, data=form, auth=(profile.client_id, profile.client_secret))
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise CliError(
                f"No token from {profile.token_url}: {error}.", "Check the client and its secret."
            ) from error
        return str(answer.json()["access_token"])


def _problem(service: str, response: httpx.Response) -> CliError:
    """RFC 9457 if it is one, else the bare status."""
    try:
        body: Mapping[str, Any] = response.json()
    except ValueError:
        body = {}
    text = str(body.get("detail") or body.get("title") or response.reason_phrase)
    for error in body.get("errors") or []:
        where = error.get("pointer") or error.get("loc") or error.get("field") or ""
        text += f"\n  {where}: {error.get('detail') or error.get('msg') or error.get('message') or error}"
    kind = NotFoundError if response.status_code == httpx.codes.NOT_FOUND else CliError
    return kind(f"{service}: {text}", body.get("remedy"))
