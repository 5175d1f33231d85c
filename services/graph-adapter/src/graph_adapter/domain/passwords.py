"""Start passwords of new accounts.

Owns length, alphabet and Entra's complexity rule (three of four kinds of character; here always four). Refuses to
remember: a password exists only inside the request that sets it, and the user must change it at the first sign-in.
"""

from __future__ import annotations

import secrets
import string

PASSWORD_LENGTH = 24
DRAW_BYTES = 48
_SYMBOLS = "!#$%&*+-=?@^_"
_ALPHABET = string.ascii_lowercase + string.ascii_uppercase + string.digits + _SYMBOLS
_KINDS = tuple(map(frozenset, (string.ascii_lowercase, string.ascii_uppercase, string.digits, _SYMBOLS)))
_FAIR_BELOW = 256 - 256 % len(_ALPHABET)


def new_password() -> str:
    """24 random characters from the operating system's source, at least one of every kind."""
    while True:
        # One draw for all characters; values beyond a multiple of the alphabet would make some characters likelier.
        drawn = [byte for byte in secrets.token_bytes(DRAW_BYTES) if byte < _FAIR_BELOW][:PASSWORD_LENGTH]
        candidate = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in drawn)
        if len(candidate) == PASSWORD_LENGTH and all(kind.intersection(candidate) for kind in _KINDS):
            return candidate
