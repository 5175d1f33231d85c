"""The one way out: HTTP clients with our TLS trust, bounded waits and no surprises from the environment.

Owns the import of the HTTP client library. Refuses proxy and CA settings taken from environment variables: they are
configured.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

CONNECT_TIMEOUT_SECONDS = 5.0
TIMEOUT_SECONDS = 15.0


def client_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts the system's authorities and, additionally, those in `ca_file` (PEM)."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def http_client(ca_file: Path | None = None) -> httpx.AsyncClient:
    """A client for calls to other services; the caller closes it."""
    return httpx.AsyncClient(
        verify=client_tls(ca_file),
        trust_env=False,
        timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
        follow_redirects=False,
    )
