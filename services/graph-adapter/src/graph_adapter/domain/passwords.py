"""Start passwords of new accounts.

Owns length, alphabet and Entra's complexity rule (three of four kinds of character; here always four). Refuses to
remember: a password exists only inside the request that sets it, and the user must change it at the first sign-in.
"""

from __future__ import annotations

import secrets
import string

PASSWORD_LENGTH = 24
_SYMBOLS = "!#$%&*+-=?@^_"
_KINDS = (string.ascii_lowercase, string.ascii_uppercase, string.digits, _SYMBOLS)
_ALPHABET = "".join(_KINDS)


def new_password() -> str:
    """24 random characters from the operating system's source, at least one of every kind."""
    while True:
        candidate = "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH))
        if all(any(character in kind for character in candidate) for kind in _KINDS):
            return candidate
