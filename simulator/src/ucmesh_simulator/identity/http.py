"""The login face over HTTP: discovery documents, keys and the token endpoint. Owns paths and bodies; the decision is
tokens.py's."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_plus

from ucmesh_simulator.asgi import Receive, Scope, Send, drop_connection, headers_of, origin_of, read_body, send_json
from ucmesh_simulator.faults import Fault
from ucmesh_simulator.identity.errors import TokenError, tenant_not_found
from ucmesh_simulator.identity.tokens import NO_TENANT, grant_token
from ucmesh_simulator.requests_log import LoggedRequest
from ucmesh_simulator.world import World

ALIASES = ("login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net")


class LoginFace:
    def __init__(self, world: World) -> None:
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send, segments: list[str]) -> bool:
        """True when the path was one of this face's."""
        headers = headers_of(scope)
        origin = origin_of(headers)
        match segments:
            case ["common", "discovery", "instance"]:
                await send_json(send, 200, _instance(origin))
            case [tenant, "v2.0", ".well-known", "openid-configuration"]:
                await self._configuration(send, tenant, origin)
            case [_, "discovery", "v2.0", "keys"]:
                await send_json(send, 200, {"keys": [self._world.signer.public_jwk]})
            case [tenant, "oauth2", "v2.0", "token"]:
                await self._token(scope, receive, send, tenant)
            case _:
                return False
        return True

    async def _configuration(self, send: Send, name: str, origin: str) -> None:
        tenant = self._world.find(name)
        if tenant is None and name.lower() not in NO_TENANT:
            await self._refuse(send, tenant_not_found(name), {})
            return
        issuer_name = tenant.id if tenant else "{tenantid}"
        base = f"{origin}/{tenant.id if tenant else name}"
        await send_json(
            send,
            200,
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "issuer": f"{origin}/{issuer_name}/v2.0",
                "token_endpoint_auth_methods_supported": [
                    "client_secret_post",
                    "private_key_jwt",
                    "client_secret_basic",
                ],
                "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "tenant_region_scope": "EU",
                "cloud_instance_name": "microsoftonline.com",
            },
        )

    async def _token(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        headers = headers_of(scope)
        form = dict(parse_qsl((await read_body(receive)).decode("utf-8", "replace"), keep_blank_values=True))
        if scope["method"] != "POST":
            form = {}
        _add_basic(form, headers.get("authorization", ""))
        asked = _Asked(name, scope["path"], form, headers)
        tenant = self._world.find(name)
        fault = tenant.faults.strike("login", "POST", scope["path"]) if tenant else None
        if fault is not None and await self._strike(fault, receive, send):
            self._log(asked, fault.status if "status" in fault.action else 0, fault.code, fault)
            return
        try:
            grant = grant_token(self._world, name, form, origin_of(headers))
        except TokenError as refused:
            self._log(asked, refused.status, f"AADSTS{refused.number}", fault)
            await self._refuse(send, refused, headers)
            return
        self._log(asked, 200, None, fault)
        lifetime = grant.lifetime_seconds
        answer = {
            "token_type": "Bearer",
            "expires_in": lifetime,
            "ext_expires_in": lifetime,
            "access_token": grant.token,
        }
        await send_json(send, 200, answer, {"cache-control": "no-store, no-cache", "pragma": "no-cache"})

    async def _strike(self, fault: Fault, receive: Receive, send: Send) -> bool:
        """True when the fault answered; a login has no write, so before and after are the same."""
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault.action.startswith("drop"):
            await drop_connection(receive, send)
            return True
        if not fault.action.startswith("status"):
            return False
        headers = {} if fault.retry_after_seconds is None else {"retry-after": f"{fault.retry_after_seconds:g}"}
        number = 90055 if fault.status == 429 else 90033
        refusal = TokenError(number, "The service is temporarily unavailable. Please retry later.")
        await send_json(send, fault.status, self._body(refusal, {}), headers)
        return True

    async def _refuse(self, send: Send, refusal: TokenError, headers: Mapping[str, str]) -> None:
        body = self._body(refusal, headers)
        await send_json(send, refusal.status, body, {"x-ms-request-id": str(body["trace_id"])})

    def _body(self, refusal: TokenError, headers: Mapping[str, str]) -> dict[str, object]:
        return refusal.body(
            at=self._world.clock.identity_now(),
            trace_id=self._world.new_request_id(),
            correlation_id=headers.get("client-request-id") or self._world.new_request_id(),
        )

    def _log(self, asked: "_Asked", status: int, code: str | None, fault: Fault | None) -> None:
        tenant = self._world.find(asked.name)
        if tenant is None:
            return
        tenant.requests.add(
            LoggedRequest(
                at=tenant.now(),
                face="login",
                method="POST",
                path=asked.path,
                status=status,
                code=code,
                client_id=asked.form.get("client_id"),
                request_id=self._world.new_request_id(),
                client_request_id=asked.headers.get("client-request-id"),
                body={
                    "scope": asked.form.get("scope"),
                    "credential": "certificate" if asked.form.get("client_assertion") else "secret",
                },
                fault=fault.action if fault else None,
            )
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A token request as the log needs it."""

    name: str
    path: str
    form: Mapping[str, str]
    headers: Mapping[str, str]


def _instance(origin: str) -> dict[str, object]:
    host = origin.removeprefix("https://")
    metadata = [{"preferred_network": ALIASES[0], "preferred_cache": ALIASES[1], "aliases": list(ALIASES)}]
    metadata.append({"preferred_network": host, "preferred_cache": host, "aliases": [host]})
    return {
        "tenant_discovery_endpoint": f"{origin}/common/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": metadata,
    }


def _add_basic(form: dict[str, str], authorization: str) -> None:
    """HTTP Basic is the other documented way to send client id and secret."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        client_id, _, secret = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return
    form.setdefault("client_id", unquote_plus(client_id))
    form.setdefault("client_secret", unquote_plus(secret))
