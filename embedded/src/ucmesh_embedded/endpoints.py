"""Where a running stack is: `stack.json` for programs, `cli.json` for the `ucmesh` command.

Owns: those two files. They exist only while the stack runs; secrets are named by file, not written into them.
"""

from dataclasses import asdict, dataclass
from typing import Self

import orjson

from ucmesh_embedded.places import Places
from ucmesh_embedded.topology import KAFKA_DOOR, Wiring

STACK_FILE = "stack.json"
CLI_FILE = "cli.json"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of one running stack; `urls` by part name, without a slash at the end."""

    urls: dict[str, str]
    kafka: str
    token_url: str
    client_id: str
    client_secret_file: str
    ca_file: str
    simulator_admin_token_file: str
    pwsh: str
    """Which PowerShell the gateway uses: the path of `pwsh`, or "simulated"."""

    def url(self, name: str) -> str:
        return self.urls[name]

    @classmethod
    def of(cls, wiring: Wiring) -> Self:
        keys = wiring.keys
        named = [name for name in wiring.ports if name not in {"postgres", "kafka", KAFKA_DOOR}]
        return cls(
            urls={name: wiring.url(name) for name in named},
            kafka=f"127.0.0.1:{wiring.ports['kafka']}",
            token_url=wiring.url("issuer") + "/token",
            client_id="cli",
            client_secret_file=str(keys.password_file("client-cli")),
            ca_file=str(keys.ca_file),
            simulator_admin_token_file=str(keys.password_file("simulator-admin")),
            pwsh=wiring.pwsh or "simulated",
        )

    @classmethod
    def running(cls, places: Places) -> Self | None:
        """The endpoints of the stack that runs in this home folder; None when there is none."""
        try:
            return cls(**orjson.loads((places.home / STACK_FILE).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, places: Places) -> None:
        profile = {f"{name.replace('-', '_')}_url": self.urls[name] for name in self.urls if name != "simulator"}
        profile |= {
            "issuer_url": self.urls["issuer"],
            "token_url": self.token_url,
            "client_id": self.client_id,
            "client_secret_file": self.client_secret_file,
            "ca_file": self.ca_file,
        }
        for name, body in ((STACK_FILE, asdict(self)), (CLI_FILE, profile)):
            part = places.home / f"{name}.part"
            part.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
            part.replace(places.home / name)

    @staticmethod
    def forget(places: Places) -> None:
        for name in (STACK_FILE, CLI_FILE):
            (places.home / name).unlink(missing_ok=True)
