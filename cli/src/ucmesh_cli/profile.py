"""Where the mesh is and who we are: environment variables first, then the profile file of the embedded stack.

Owns: reading UCMESH_* and `cli.json`. Refuses: secrets on the command line.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ucmesh_cli.errors import CliError

SERVICES = ("orchestrator", "graph-adapter", "pwsh-gateway", "cert-manager")
PROFILE_VARIABLE = "UCMESH_PROFILE"
PROFILE_DEFAULT = Path(".ucmesh") / "cli.json"


@dataclass(frozen=True, slots=True)
class Profile:
    """Addresses and credentials; ``token`` beats the client credentials."""

    urls: Mapping[str, str]
    token: str | None = None
    token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    ca_file: str | None = None

    def url(self, name: str) -> str:
        """The base URL of a service (or "traces"); CliError naming the variable to set."""
        if name in self.urls:
            return self.urls[name].rstrip("/")
        raise CliError(
            f"No address of {name} is known.",
            f"Start the embedded stack with `./dev up`, or set {_variable(name)}.",
        )


def load_profile(environment: Mapping[str, str] | None = None) -> Profile:
    """Merges the profile file and the environment; an unreadable file is an error, a missing default one is not."""
    env = os.environ if environment is None else environment
    stored = _stored(env)
    urls = {}
    for name in (*SERVICES, "traces"):
        url = env.get(_variable(name)) or stored.get(f"{name.replace('-', '_')}_url")
        if url:
            urls[name] = str(url)
    secret_file = env.get("UCMESH_CLIENT_SECRET_FILE") or stored.get("client_secret_file")
    return Profile(
        urls=urls,
        token=_token(env),
        token_url=env.get("UCMESH_TOKEN_URL") or stored.get("token_url"),
        client_id=env.get("UCMESH_CLIENT_ID") or stored.get("client_id"),
        client_secret=_read(secret_file) if secret_file else None,
        ca_file=env.get("UCMESH_CA_FILE") or stored.get("ca_file"),
    )


def _stored(env: Mapping[str, str]) -> dict[str, Any]:
    named = env.get(PROFILE_VARIABLE)
    path = Path(named) if named else _nearest(Path.cwd())
    if path is None or (not named and not path.exists()):
        return {}
    try:
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise CliError(
            f"The profile {path} cannot be read: {error.strerror}.", f"Correct {PROFILE_VARIABLE}."
        ) from error
    except orjson.JSONDecodeError as error:
        raise CliError(f"The profile {path} is not JSON: {error}.", "Delete it and run `./dev up` again.") from error
    return document if isinstance(document, dict) else {}


def _nearest(folder: Path) -> Path | None:
    """The profile of this folder or the nearest one above, so that the command works anywhere in a checkout."""
    return next((f / PROFILE_DEFAULT for f in (folder, *folder.parents) if (f / PROFILE_DEFAULT).exists()), None)


def _token(env: Mapping[str, str]) -> str | None:
    if env.get("UCMESH_TOKEN"):
        return env["UCMESH_TOKEN"]
    return _read(env["UCMESH_TOKEN_FILE"]) if env.get("UCMESH_TOKEN_FILE") else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error


def _variable(name: str) -> str:
    return f"UCMESH_{name.replace('-', '_').upper()}_URL"
