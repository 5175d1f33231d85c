"""The world on disk, so that tenants outlive the process as real ones do.

Owns the state file: written whole, beside itself first, at most once a second and at the end. A kill -9 can lose the
last second; a test that kills the simulator should not use one. Refuses files of another release: the world then starts
from its seed. The file is the user's own and is trusted like the code that reads it.
"""

import asyncio
import io
import pickle
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ucmesh_simulator.identity.signing import TokenSigner
from ucmesh_simulator.world import World

FORMAT = "ucmesh-simulator-state-1"
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
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump((FORMAT, world))
    part = file.with_name(file.name + ".part")
    part.touch(mode=0o600)
    part.write_bytes(buffer.getvalue())
    part.replace(file)


async def keep_saved(world: World, file: Path, stop: asyncio.Event) -> None:
    """Until `stop`: saves when requests changed something since the last time, and once more at the end."""
    saved = -1
    while not stop.is_set():
        seen = _activity(world)
        if seen != saved:
            save(world, file)
            saved = seen
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SAVE_SECONDS)
    save(world, file)


def _activity(world: World) -> int:
    return sum(sum(tenant.requests.counts.values()) for tenant in world.tenants.values())


def _say_unreadable(file: Path, reason: str) -> None:
    sys.stderr.write(f"ucmesh-simulator: {file} cannot be used ({reason}); starting from the seed\n")


class _Pickler(pickle.Pickler):
    """Certificates go as PEM. Signing keys stay: tokens of an earlier process are refused and asked for again."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, x509.Certificate):
            return _certificate, (obj.public_bytes(serialization.Encoding.PEM),)
        if isinstance(obj, TokenSigner):
            return TokenSigner, ()
        return NotImplemented


def _certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)
