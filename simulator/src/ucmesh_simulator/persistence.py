"""The world on disk, so that tenants outlive the process as real ones do.

Owns the state file: written whole, beside itself first, at most once a second while there are writes, and at the end.
A kill -9 can lose the last second; a test that kills the simulator should not use one. Refuses files of another
release: the world then starts from its seed. The file is the user's own and is trusted like the code that reads it.
"""

import asyncio
import copyreg
import io
import pickle
import sys
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ucmesh_simulator.identity.signing import TokenSigner
from ucmesh_simulator.requests_log import RequestsLog
from ucmesh_simulator.world import World

FORMAT = "ucmesh-simulator-state-3"
SAVE_SECONDS = 1.0


def load(file: Path) -> World | None:
    """The world as it was saved; None, with a line on stderr, when there is none that this code can read."""
    try:
        with file.open("rb") as stream:
            form, world = pickle.load(stream)  # noqa: S301  the user's own file
    except FileNotFoundError:
        return None
    except Exception as error:
        _say_unreadable(file, repr(error))
        return None
    if form != FORMAT or not isinstance(world, World):
        _say_unreadable(file, f"format {form!r}")
        return None
    return world


def save(world: World, file: Path) -> None:
    """Atomically."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _TABLE
    pickler.dump((FORMAT, world))
    part = file.with_name(file.name + ".part")
    part.touch(mode=0o600)
    part.write_bytes(buffer.getvalue())
    part.replace(file)


async def keep_saved(world: World, file: Path, stop: asyncio.Event) -> None:
    """Until `stop`: saves after writes, not after reads. The last save is due when nobody is served any more."""
    saved = -1
    while not stop.is_set():
        if world.writes != saved:
            save(world, file)
            saved = world.writes
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SAVE_SECONDS)


def _say_unreadable(file: Path, reason: str) -> None:
    sys.stderr.write(f"ucmesh-simulator: {file} cannot be used ({reason}); starting from the seed\n")


def _certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


# Certificates go as PEM. Signing keys stay: tokens of an earlier process are refused and asked for again. Logged
# requests stay too, passwords in their bodies with them; only their counts go.
_TABLE = copyreg.dispatch_table | {
    x509.Certificate: lambda one: (_certificate, (one.public_bytes(serialization.Encoding.PEM),)),
    TokenSigner: lambda _: (TokenSigner, ()),
    RequestsLog: lambda log: (RequestsLog, (log.kept_max, log.counts)),
}
