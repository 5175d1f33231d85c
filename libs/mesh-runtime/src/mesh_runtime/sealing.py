"""Secrets at rest and secrets in transit, with the context they belong to bound in.

Owns two versioned formats. Refuses to open anything under another context, another key or with a changed byte.

At rest (`Sealer`): AES-256-GCM, key named in the blob so keys rotate by re-sealing:

    "UMS" | version 1 | length of key id | key id | nonce (12) | ciphertext and tag
    additional data: everything before the nonce, then the context

In transit (`seal_for`, `SealingKey`): compact JWE (RFC 7516), ECDH-ES+A256KW and A256GCM, protected header
`{"kid", "ctx": context, "v": 1}`.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwe, jwk
from joserfc.errors import JoseError
from joserfc.registry import HeaderParameter

from mesh_runtime.errors import InvalidInput, TooLarge
from mesh_runtime.logs import get_logger
from mesh_runtime.settings import SettingsError

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
PLAINTEXT_BYTES_MAX = 16 * 1024 * 1024
JWE_PLAINTEXT_BYTES_MAX = 48 * 1024
JWE_VERSION = 1

MAGIC = b"UMS\x01"
_ALGORITHMS = ["ECDH-ES+A256KW", "A256GCM"]
_log = get_logger("mesh_runtime.sealing")
_registry = jwe.JWERegistry(
    header_registry={
        "ctx": HeaderParameter("Context the content belongs to", "str", True),
        "v": HeaderParameter("Version of this format", "int", True),
    },
    algorithms=_ALGORITHMS,
)


class Sealer:
    """Seals small secrets for our own database. `keys` maps a key id to 32 bytes; new blobs use `active`.

    One that was made `from_file` follows its file: keys that were changed there count from the next use on.
    """

    def __init__(self, keys: Mapping[str, bytes], active: str) -> None:
        if active not in keys:
            raise ValueError(f"the active key {active!r} is not among the keys")
        for kid, key in keys.items():
            if len(key) != KEY_BYTES or not 1 <= len(kid.encode()) <= 64:
                raise ValueError(f"key {kid!r} must be {KEY_BYTES} bytes with an id of 1 to 64 bytes")
        self._keys = {kid: AESGCM(key) for kid, key in keys.items()}
        self._active = active
        self._file: Path | None = None
        self._version: object = None

    @classmethod
    def from_file(cls, path: Path | str) -> Sealer:
        """Reads `{"active": "k1", "keys": {"k1": base64 of 32 bytes}}`.

        Raises SettingsError without showing content.
        """
        version = _file_version(path)
        document = _read_json(path)
        try:
            keys = {str(kid): base64.b64decode(value, validate=True) for kid, value in document["keys"].items()}
            sealer = cls(keys, str(document["active"]))
        except (KeyError, AttributeError, TypeError, binascii.Error, ValueError):
            raise SettingsError(
                f'{path}: not a key file; expected {{"active": "k1", "keys": {{"k1": base64 of {KEY_BYTES} bytes}}}}'
            ) from None
        sealer._file, sealer._version = Path(path), version
        return sealer

    @property
    def active(self) -> str:
        """The id of the key that new blobs are under."""
        self._follow()
        return self._active

    @property
    def kids(self) -> frozenset[str]:
        """The ids of all keys."""
        self._follow()
        return frozenset(self._keys)

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypts under the active key. `context` says what this is ("credential:<id>"); opening needs it again."""
        if len(plaintext) > PLAINTEXT_BYTES_MAX:
            raise TooLarge(f"at most {PLAINTEXT_BYTES_MAX} bytes can be sealed")
        self._follow()
        header = header_of(self._active)
        nonce = os.urandom(NONCE_BYTES)
        return header + nonce + self._keys[self._active].encrypt(nonce, plaintext, header + context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """The plaintext. Raises InvalidInput if it was changed, belongs to another context, or its key is not here."""
        self._follow()
        header, kid = _split(sealed)
        key = self._keys.get(kid)
        if key is None:
            raise InvalidInput(
                f"sealed under key {kid!r}, which the key file does not hold",
                code="sealing-key-unknown",
                detail={"kid": kid},
                remedy=f"Put key {kid!r} back into the key file; `reseal --check` says which keys are still needed.",
            )
        nonce = sealed[len(header) : len(header) + NONCE_BYTES]
        try:
            return key.decrypt(nonce, sealed[len(header) + NONCE_BYTES :], header + context.encode())
        except InvalidTag:
            raise InvalidInput(
                f"the sealed value was changed, or was sealed under another key {kid!r} or context",
                code="sealed-invalid",
                detail={"kid": kid},
            ) from None

    def reseal(self, sealed: bytes, *, context: str) -> bytes:
        """The same secret under the active key; `sealed` itself when it is under it already."""
        if not self.is_stale(sealed):
            return sealed
        return self.seal(self.open(sealed, context=context), context=context)

    def is_stale(self, sealed: bytes) -> bool:
        """Whether the blob is under another key than the active one."""
        return _split(sealed)[1] != self.active

    def _follow(self) -> None:
        """Takes over a key file that was written anew. One that cannot be used leaves the keys as they are."""
        if self._file is None or (version := _file_version(self._file)) == self._version:
            return
        self._version = version
        try:
            fresh = Sealer.from_file(self._file)
        except SettingsError as error:
            _log.error("sealing.key_file_unusable", reason=str(error))
            return
        self._keys, self._active = fresh._keys, fresh._active
        _log.info("sealing.keys_changed", active=self._active, keys=sorted(self._keys))


class SealingKey:
    """A service's private EC P-256 key; others seal for it with `public_jwk`."""

    def __init__(self, key: jwk.ECKey) -> None:
        if key.curve_name != "P-256" or not key.is_private:
            raise ValueError("a sealing key is a private EC key on P-256")
        self._key = key
        self.kid: str = key.kid or key.thumbprint()

    @classmethod
    def generate(cls, kid: str | None = None) -> SealingKey:
        """A new key; without `kid` it is named by its thumbprint (RFC 7638)."""
        return cls(jwk.ECKey.generate_key("P-256", {"kid": kid} if kid else None, private=True))

    @classmethod
    def from_jwk(cls, document: Mapping[str, Any]) -> SealingKey:
        """Raises ValueError when `document` is not a private EC P-256 JWK."""
        try:
            return cls(jwk.ECKey.import_key(dict(document)))
        except (JoseError, KeyError, TypeError, ValueError):
            raise ValueError("not a private EC P-256 JWK") from None

    @classmethod
    def from_file(cls, path: Path | str) -> SealingKey:
        """Reads a private JWK (JSON). Raises SettingsError without showing content."""
        try:
            return cls.from_jwk(_read_json(path))
        except ValueError:
            raise SettingsError(f"{path}: not a private EC P-256 JWK") from None

    @property
    def public_jwk(self) -> dict[str, Any]:
        """The public part, to be handed to whoever seals for this service."""
        return {**self._key.as_dict(private=False), "kid": self.kid}

    @property
    def private_jwk(self) -> dict[str, Any]:
        """The whole key, for writing a key file."""
        return {**self._key.as_dict(private=True), "kid": self.kid}

    def open(self, token: str, *, context: str) -> bytes:
        """The plaintext of a JWE of `seal_for`.

        Raises InvalidInput if it was changed, is for another key or of another context.
        """
        try:
            opened = jwe.decrypt_compact(token, self._key, registry=_registry)
        except (JoseError, InvalidTag, ValueError, TypeError, KeyError):
            raise _unopened() from None
        if (
            opened.protected.get("ctx") != context
            or opened.protected.get("v") != JWE_VERSION
            or opened.plaintext is None
        ):
            raise _unopened()
        return opened.plaintext


def seal_for(recipient_public_jwk: Mapping[str, Any], plaintext: bytes, *, context: str) -> str:
    """A compact JWE only the holder of the private key can open, and only under the same `context`.

    Raises InvalidInput when the recipient's key is not an EC P-256 JWK, TooLarge beyond JWE_PLAINTEXT_BYTES_MAX.
    """
    if len(plaintext) > JWE_PLAINTEXT_BYTES_MAX:
        raise TooLarge(f"at most {JWE_PLAINTEXT_BYTES_MAX} bytes can be sealed for a recipient")
    key = _recipient(recipient_public_jwk)
    header = {
        "alg": _ALGORITHMS[0],
        "enc": _ALGORITHMS[1],
        "kid": str(recipient_public_jwk.get("kid") or key.thumbprint()),
        "ctx": context,
        "v": JWE_VERSION,
    }
    return jwe.encrypt_compact(header, plaintext, key, registry=_registry)


def _recipient(document: Mapping[str, Any]) -> jwk.ECKey:
    refusal = InvalidInput("the recipient's key is not a public EC P-256 JWK", code="recipient-key-invalid")
    if document.get("kty") != "EC" or document.get("crv") != "P-256":
        raise refusal
    try:
        # Only the public members: a private key handed in by mistake is not used as one.
        return jwk.ECKey.import_key({name: document[name] for name in ("kty", "crv", "x", "y")})
    except (JoseError, KeyError, TypeError, ValueError):
        raise refusal from None


def header_of(kid: str) -> bytes:
    """What every blob under this key begins with."""
    return MAGIC + bytes([len(kid.encode())]) + kid.encode()


def _split(sealed: bytes) -> tuple[bytes, str]:
    """The authenticated header (with the key's id) of a blob."""
    start = len(MAGIC) + 1
    if len(sealed) < start or not sealed.startswith(MAGIC):
        raise InvalidInput("not a sealed value of a known version", code="sealed-invalid")
    end = start + sealed[len(MAGIC)]
    if len(sealed) < end + NONCE_BYTES + TAG_BYTES:
        raise InvalidInput("the sealed value is cut short", code="sealed-invalid")
    return bytes(sealed[:end]), sealed[start:end].decode(errors="replace")


def _unopened() -> InvalidInput:
    return InvalidInput("the sealed value was changed, or is for another key or context", code="sealed-invalid")


def _file_version(path: Path | str) -> object:
    """Changes whenever the file is written or replaced; None when there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _read_json(path: Path | str) -> dict[str, Any]:
    try:
        document = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except orjson.JSONDecodeError:
        raise SettingsError(f"{path}: not JSON") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: not a JSON object")
    return document
