"""The HTTP server on a real socket: the port, draining, TLS, and an issuer reached with an extra CA."""

import asyncio
import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import suppress

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import APIRouter
from joserfc import jwk
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from mesh_runtime.auth import TokenVerifier
from mesh_runtime.errors import Unavailable
from mesh_runtime.health import Health
from mesh_runtime.http import Server, create_app
from mesh_runtime.middleware import BODY_BYTES_MAX
from mesh_runtime.outgoing import http_client
from mesh_runtime.roles import Role, RoleFailed, run_roles
from mesh_runtime.testing import MemoryIssuer, StaticVerifier
from support.waiting import eventually


def app(*routers: APIRouter, health: Health | None = None):
    health = health or Health()
    return create_app(
        title="x", version="1", description="x", verifier=StaticVerifier(), health=health, routers=routers
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-made certificate for 127.0.0.1: (certfile, keyfile)."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


async def test_a_request_in_flight_is_answered_while_the_server_drains():
    router, entered, release = APIRouter(), asyncio.Event(), asyncio.Event()

    @router.get("/slow")
    async def slow() -> str:
        entered.set()
        await release.wait()
        return "done"

    server, stop = Server(app(router), "127.0.0.1", 0), asyncio.Event()
    running = asyncio.create_task(run_roles([Role("api", server.run)], stop=stop))
    await server.started.wait()
    async with http_client() as client:
        client.headers["Authorization"] = "Bearer test"
        request = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}/slow"))
        await entered.wait()
        stop.set()
        release.set()
        assert (await request).json() == "done"
        await running
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{server.port}/health/live")


async def test_readiness_says_no_before_the_port_is_closed():
    health, stop = Health(), asyncio.Event()
    health.started()
    server = Server(app(health=health), "127.0.0.1", 0, health=health, linger_seconds=600)
    running = asyncio.create_task(run_roles([Role("api", server.run)], drain_seconds=601, stop=stop))
    await server.started.wait()
    url = f"http://127.0.0.1:{server.port}/health"
    async with http_client() as client:
        assert (await client.get(f"{url}/ready")).status_code == 200
        stop.set()
        await eventually(lambda: health.is_stopping)
        answer = await client.get(f"{url}/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "stopping")
        assert (await client.get(f"{url}/live")).status_code == 200
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_the_port_is_closed_after_the_linger():
    server, stop = Server(app(), "127.0.0.1", 0, health=Health(), linger_seconds=0.01), asyncio.Event()
    running = asyncio.create_task(run_roles([Role("api", server.run)], stop=stop))
    await server.started.wait()
    stop.set()
    await running
    async with http_client() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{server.port}/health/live")


async def test_a_port_that_is_taken_fails_the_role_not_the_interpreter():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(app(), "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(RoleFailed, match="Address already in use"):
            await run_roles([Role("api", server.run)])


async def test_it_serves_https_and_a_client_with_the_ca_trusts_it(certificate):
    server, stop = Server(app(), "127.0.0.1", 0, *certificate), asyncio.Event()
    running = asyncio.create_task(server.run(stop))
    await server.started.wait()
    url = f"https://127.0.0.1:{server.port}/health/live"
    async with http_client(certificate[0]) as trusting:
        assert (await trusting.get(url)).status_code == 200
    async with http_client() as other:
        with pytest.raises(httpx.ConnectError):
            await other.get(url)
    stop.set()
    await running


async def test_the_environment_s_proxies_are_not_used(monkeypatch, unused_tcp_port):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_tcp_port}")
    server, stop = Server(app(), "127.0.0.1", 0), asyncio.Event()
    running = asyncio.create_task(server.run(stop))
    await server.started.wait()
    async with http_client() as client:
        assert (await client.get(f"http://127.0.0.1:{server.port}/health/live")).status_code == 200
    stop.set()
    await running


async def test_a_verifier_fetches_keys_from_an_issuer_behind_a_private_ca(certificate):
    issuer = MemoryIssuer()
    served = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", lambda _: JSONResponse(issuer.metadata())),
            Route("/jwks", lambda _: JSONResponse(jwk.KeySet(issuer.keys).as_dict(private=False))),
        ]
    )
    server, stop = Server(served, "127.0.0.1", 0, *certificate), asyncio.Event()
    running = asyncio.create_task(server.run(stop))
    await server.started.wait()
    issuer.url = f"https://127.0.0.1:{server.port}"
    verifier = TokenVerifier(issuer.url, "ucmesh", ca_file=certificate[0])
    assert (await verifier.verify(issuer.token("mesh.read"))).scopes == {"mesh.read"}
    await verifier.close()
    distrusting = TokenVerifier(issuer.url, "ucmesh")
    with pytest.raises(Unavailable):
        await distrusting.verify(issuer.token("mesh.read"))
    await distrusting.close()
    stop.set()
    await running


def test_a_whole_process_starts_answers_and_ends_on_a_signal(tmp_path, unused_tcp_port):
    code = f"""
    import sys
    from mesh_runtime import roles
    from mesh_runtime.health import Health
    from mesh_runtime.http import Server, create_app
    from mesh_runtime.testing import StaticVerifier

    async def main():
        app = create_app(
            title="x", version="1", description="x", verifier=StaticVerifier(), health=Health(), routers=[]
        )
        await roles.run_roles([roles.Role("api", Server(app, "127.0.0.1", {unused_tcp_port}).run)])

    sys.exit(roles.main(main))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "http.listening" in line:
                break
        answer = httpx.get(f"http://127.0.0.1:{unused_tcp_port}/health/live", trust_env=False, timeout=10)
        assert answer.status_code == 200
        os.kill(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
    finally:
        process.kill()


async def test_a_body_beyond_the_limit_ends_the_connection():
    router = APIRouter()

    @router.post("/take")
    async def take(body: dict[str, str]) -> None:
        return None

    server, stop = Server(app(router), "127.0.0.1", 0), asyncio.Event()
    running = asyncio.create_task(server.run(stop))
    await server.started.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = ("POST /take HTTP/1.1", "Host: x", "Authorization: Bearer test", "Content-Type: application/json")
    writer.write("\r\n".join([*head, "Transfer-Encoding: chunked", "", ""]).encode())
    for _ in range(BODY_BYTES_MAX // 65_536):
        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        await writer.drain()
    writer.write(b"1\r\nx\r\n")
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too-large"' in answer
    writer.close()
    stop.set()
    await running
