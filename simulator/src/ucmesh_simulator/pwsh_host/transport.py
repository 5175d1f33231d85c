"""The simulator over HTTP, the way the stub modules do it: token by client assertion with renewal, one POST per cmdlet.
Owns the connection of this process; refuses plain http."""

import base64
import os
import ssl
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import Certificate

from ucmesh_simulator.pwsh_host.records import HostError, connection_lost, from_service, own

RESOURCES = {
    "MicrosoftTeams": "48ac35b8-9aa8-4d74-927d-1f4a14a0b239",
    "ExchangeOnlineManagement": "https://outlook.office365.com",
}
CONNECT = {"MicrosoftTeams": "Connect-MicrosoftTeams", "ExchangeOnlineManagement": "Connect-ExchangeOnline"}
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
RENEW_BEFORE_SECONDS = 300
HTTP_SECONDS_MAX = 900.0
_TEAMS_SIGN_IN = "Connect-MicrosoftTeams,Microsoft.TeamsCmdlets.Powershell.Connect.ConnectMicrosoftTeams"


@dataclass(slots=True)
class Credential:
    key: rsa.RSAPrivateKey
    certificate: Certificate


def open_pfx(content: str, password: str) -> Credential:
    """Raises HostError for what is no PFX with an RSA key, or a wrong password."""
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(base64.b64decode(content), password.encode())
    except ValueError as wrong:
        raise own("CryptographicException", "The specified network password is not correct.", "NotSpecified") from wrong
    if not isinstance(key, rsa.RSAPrivateKey) or certificate is None:
        raise own("CryptographicException", "The PFX holds no RSA key with its certificate.", "NotSpecified")
    return Credential(key, certificate)


@dataclass(slots=True)
class Connection:
    """`tenant_name` is the tenant id for Teams and the organization for Exchange, as the real cmdlets address it."""

    module: str
    tenant_name: str
    client_id: str
    credential: Credential
    client: httpx.Client
    base_url: str
    token: str = ""
    expires_at: float = 0.0
    fields: dict[str, Any] = field(default_factory=dict)

    def call(
        self, cmdlet: str, parameters: dict[str, Any], timeout_seconds: float = HTTP_SECONDS_MAX
    ) -> dict[str, Any]:
        """The simulator's answer; raises HostError. A refused token is renewed once."""
        for renew in (False, True):
            answer = self._post(
                cmdlet,
                f"/powershell/{self.module}/{cmdlet}",
                timeout_seconds,
                content=orjson.dumps({"parameters": parameters}),
                headers={
                    "authorization": f"Bearer {self._token(cmdlet, renew=renew)}",
                    "content-type": "application/json",
                },
            )
            if answer.status_code != 401:
                break
        body: dict[str, Any] = orjson.loads(answer.content)
        if answer.status_code != 200:
            raise from_service(cmdlet, body["error"])
        return body

    def _token(self, cmdlet: str, *, renew: bool) -> str:
        now = time.time()
        if self.token and not renew and self.expires_at - RENEW_BEFORE_SECONDS > now:
            return self.token
        url = f"{self.base_url}/{self.tenant_name}/oauth2/v2.0/token"
        form = {
            "client_id": self.client_id,
            "scope": f"{RESOURCES[self.module]}/.default",
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": _assertion(self.client_id, url, self.credential),
        }
        answer = self._post(cmdlet, f"/{self.tenant_name}/oauth2/v2.0/token", HTTP_SECONDS_MAX, data=form)
        body: dict[str, Any] = orjson.loads(answer.content or b"{}")
        if answer.status_code != 200:
            raise self._sign_in_refused(body, answer.status_code)
        self.token, self.expires_at = body["access_token"], now + body["expires_in"]
        return self.token

    def _post(self, cmdlet: str, path: str, timeout_seconds: float, **content: Any) -> httpx.Response:
        try:
            return self.client.post(path, timeout=timeout_seconds, **content)
        except httpx.TimeoutException as wrong:
            message = f"{cmdlet} did not finish within {int(timeout_seconds * 1000)} ms"
            raise own("UcmeshTimeout", message, "OperationTimeout") from wrong
        except httpx.TransportError as wrong:
            raise connection_lost(cmdlet) from wrong

    def _sign_in_refused(self, body: dict[str, Any], status: int) -> HostError:
        message = body.get("error_description", f"The token service answered {status}.")
        teams = self.module == "MicrosoftTeams"
        error = {
            "message": message,
            "exception_type": "Microsoft.Identity.Client.MsalServiceException",
            "reason": "MsalServiceException",
            "fqid": _TEAMS_SIGN_IN if teams else message,
            "category": "AuthenticationError" if teams else "OperationStopped",
            "http": status,
        }
        return from_service("", error)


def new_client() -> tuple[httpx.Client, str]:
    """From UCMESH_SIMULATOR_URL and UCMESH_SIMULATOR_CA."""
    base = os.environ.get("UCMESH_SIMULATOR_URL", "").rstrip("/")
    if not base.startswith("https://"):
        raise own("UcmeshHost", "UCMESH_SIMULATOR_URL must hold the https base of the simulator.")
    authority = os.environ.get("UCMESH_SIMULATOR_CA")
    context = ssl.create_default_context(cafile=authority) if authority else ssl.create_default_context()
    return httpx.Client(base_url=base, verify=context, trust_env=False), base


def _assertion(client_id: str, audience: str, credential: Credential) -> str:
    now = int(time.time())
    header = {"alg": "PS256", "typ": "JWT", "x5t#S256": _encoded(credential.certificate.fingerprint(hashes.SHA256()))}
    claims = {
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": str(uuid.uuid4()),
        "nbf": now,
        "iat": now,
        "exp": now + 600,
    }
    signed = f"{_encoded(orjson.dumps(header))}.{_encoded(orjson.dumps(claims))}"
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return f"{signed}.{_encoded(credential.key.sign(signed.encode(), scheme, hashes.SHA256()))}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
