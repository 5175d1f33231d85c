"""Passwords of Kafka users: the request that sets one, which aiokafka 0.14 does not have.

Owns the salting: the brokers learn a salted hash and never the password (RFC 5802). Facts: Apache Kafka 4.4.
"""

import hashlib
import secrets

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from mesh_runtime.errors import InvalidInput

API_KEY = 51
SCRAM_SHA_512 = 2
ITERATIONS = 8192
SALT_BYTES = 32
PASSWORD_LENGTH_MIN = 16
"""Eight thousand rounds hold only for a password that cannot be guessed."""


class _Answer(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = API_KEY
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Wire(RequestStruct):  # type: ignore[misc]
    API_KEY = API_KEY
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class SetPassword(Request[_Wire]):  # type: ignore[misc]
    """Set the SCRAM-SHA-512 password of one user, whom it makes if need be."""

    API_KEY = API_KEY

    def __init__(self, user: str, password: str) -> None:
        if len(password) < PASSWORD_LENGTH_MIN:
            raise InvalidInput(
                f"the password of {user} has fewer than {PASSWORD_LENGTH_MIN} characters", code="password-too-short"
            )
        salt = secrets.token_bytes(SALT_BYTES)
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
        no_tags: dict[int, bytes] = {}
        self._upsertion = (user, SCRAM_SHA_512, ITERATIONS, salt, salted, no_tags)

    def build(self, request_struct_class: type[_Wire]) -> _Wire:
        """The request as it is sent."""
        return request_struct_class([], [self._upsertion], {})
