"""Bearer tokens: what is accepted, what is refused and why, and what happens when the issuer is away."""

import asyncio
import base64
import hmac
import json
import time
from datetime import UTC, datetime

import httpx
import pytest
from joserfc import jwk

from mesh_runtime import issuer as issuer_module
from mesh_runtime.auth import ClientCredentials, TokenVerifier
from mesh_runtime.clock import ManualClock
from mesh_runtime.errors import Unauthenticated, Unavailable
from mesh_runtime.testing import MemoryIssuer


@pytest.fixture
def issuer():
    return MemoryIssuer()


@pytest.fixture
def clock():
    return ManualClock(datetime.now(UTC))


@pytest.fixture
def verifier(issuer, clock):
    return TokenVerifier(issuer.url, issuer.audience, http=issuer.client(), clock=clock)


async def refusal(verifier, token) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    return caught.value


@pytest.mark.parametrize("kind", ["EC", "RSA"])
async def test_a_valid_token_names_its_principal(issuer, verifier, kind):
    issuer.rotate(kind=kind)
    principal = await verifier.verify(issuer.token("mesh.read", "mesh.write", sub="alice"))
    assert (principal.subject, principal.scopes) == ("alice", {"mesh.read", "mesh.write"})
    assert principal.claims["aud"] == "ucmesh"
    hash(principal)


async def test_scopes_may_come_in_every_claim_issuers_use(issuer, verifier):
    token = issuer.token("a", scp=["b"], roles=["c", 7])
    assert (await verifier.verify(token)).scopes == {"a", "b", "c"}
    assert (await verifier.verify(issuer.token(scope=None, scp="d e"))).scopes == {"d", "e"}
    assert (await verifier.verify(issuer.token(scope=None))).scopes == frozenset()


async def test_an_audience_may_be_one_of_several(issuer, verifier):
    assert (await verifier.verify(issuer.token(aud=["other", "ucmesh"]))).subject == "tester"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1}, "token-expired"),
        ({"exp": None}, "token-invalid"),
        ({"exp": "soon"}, "token-invalid"),
        ({"nbf": 4_000_000_000}, "token-invalid"),
        ({"iss": "https://other.test"}, "token-invalid"),
        ({"iss": None}, "token-invalid"),
        ({"aud": "other"}, "token-invalid"),
        ({"aud": ["other"]}, "token-invalid"),
        ({"aud": None}, "token-invalid"),
        ({"sub": None}, "token-invalid"),
        ({"sub": ""}, "token-invalid"),
        ({"sub": ["x"]}, "token-invalid"),
    ],
)
async def test_claims_that_do_not_fit_are_refused(issuer, verifier, claims, code):
    assert (await refusal(verifier, issuer.token("mesh.read", **claims))).code == code


async def test_clocks_may_differ_by_the_leeway(issuer, verifier):
    now = int(time.time())
    await verifier.verify(issuer.token(exp=now - 50))
    await verifier.verify(issuer.token(nbf=now + 50))
    assert (await refusal(verifier, issuer.token(exp=now - 70))).code == "token-expired"
    await refusal(verifier, issuer.token(nbf=now + 70))


@pytest.mark.parametrize("garbage", ["", "x", "a.b.c", "....", "é", "e30.e30.", "x" * 20_000])
async def test_garbage_is_refused(verifier, garbage):
    assert (await refusal(verifier, garbage)).code == "token-invalid"


async def test_a_changed_token_is_refused(issuer, verifier):
    head, body, signature = issuer.token("mesh.read").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "scope": "mesh.admin"}).encode()).rstrip(b"=").decode()
    await refusal(verifier, f"{head}.{forged}.{signature}")
    await refusal(verifier, f"{head}.{body}.{signature[:-6]}AAAAAA")
    await refusal(verifier, f"{head}.{body}.")


async def test_unsigned_and_symmetric_tokens_are_refused(issuer, verifier):
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"iss": issuer.url, "aud": "ucmesh", "sub": "x", "exp": 4_000_000_000}
    await refusal(verifier, f"{part({'alg': 'none', 'kid': issuer.keys[0].kid})}.{part(claims)}.")
    public_pem = issuer.keys[0].as_pem(private=False)
    signed = f"{part({'alg': 'HS256', 'kid': issuer.keys[0].kid})}.{part(claims)}"
    digest = hmac.digest(public_pem, signed.encode(), "sha256")
    await refusal(verifier, f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}")


async def test_a_token_signed_by_another_key_of_the_same_name_is_refused(issuer, verifier):
    impostor = jwk.ECKey.generate_key("P-256", {"kid": issuer.keys[0].kid})
    await refusal(verifier, issuer.token(key=impostor))
    await refusal(verifier, issuer.token(key=jwk.RSAKey.generate_key(2048, {"kid": issuer.keys[0].kid})))
    await refusal(verifier, issuer.token(header={"kid": None}))


async def test_a_new_key_is_found_and_unknown_ones_cannot_make_us_hammer_the_issuer(issuer, verifier, clock):
    await verifier.verify(issuer.token())
    asked = issuer.requests.count("/jwks")
    strangers = [jwk.ECKey.generate_key("P-256", {"kid": f"stranger-{n}"}) for n in range(5)]
    for stranger in strangers:
        await refusal(verifier, issuer.token(key=stranger))
    assert issuer.requests.count("/jwks") == asked
    issuer.rotate()
    clock.advance(issuer_module.KEYS_REFRESH_MIN_SECONDS)
    await verifier.verify(issuer.token())
    assert issuer.requests.count("/jwks") == asked + 1


async def test_many_at_once_fetch_the_keys_once(issuer, verifier):
    tokens = [issuer.token(sub=f"user-{n}") for n in range(20)]
    principals = await asyncio.gather(*(verifier.verify(token) for token in tokens))
    assert {principal.subject for principal in principals} == {f"user-{n}" for n in range(20)}
    assert issuer.requests.count("/jwks") == 1


async def test_an_issuer_that_is_away_is_not_a_no(issuer, verifier, clock):
    issuer.down = True
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            await verifier.verify(issuer.token())
        assert caught.value.code == "issuer-unavailable"
    issuer.down = False
    clock.advance(issuer_module.KEYS_RETRY_SECONDS)
    await verifier.verify(issuer.token())


async def test_known_keys_outlive_an_issuer_that_is_away(issuer, verifier, clock):
    await verifier.verify(issuer.token())
    issuer.down = True
    clock.advance(issuer_module.KEYS_MAX_AGE_SECONDS + 1)
    assert await verifier.verify(issuer.token(exp=int(time.time()) + 9000))


async def test_a_withdrawn_key_stops_working(issuer, verifier, clock):
    old = issuer.keys[0]
    await verifier.verify(issuer.token())
    issuer.rotate(keep=False)
    clock.advance(issuer_module.KEYS_MAX_AGE_SECONDS + 1)
    await refusal(verifier, issuer.token(key=old, exp=int(time.time()) + 9000))


async def test_a_verified_token_is_remembered_but_not_beyond_its_end(issuer, verifier, clock):
    token = issuer.token(exp=int(time.time()) + 10)
    assert await verifier.verify(token) is await verifier.verify(token)
    clock.advance(75)
    assert (await refusal(verifier, token)).code == "token-expired"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"issuer": "https://evil.test", "jwks_uri": "https://evil.test/jwks"}),
        httpx.Response(200, json={"issuer": "https://issuer.test"}),
        httpx.Response(200, json={"issuer": "https://issuer.test", "jwks_uri": "http://plain.test/jwks"}),
    ],
)
async def test_metadata_that_cannot_be_trusted_is_not_used(issuer, answer):
    asked = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return answer

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    with pytest.raises(Unavailable):
        await TokenVerifier(issuer.url, "ucmesh", http=client).verify(issuer.token())
    assert set(asked) == {"issuer.test"}


async def test_unusable_published_keys_are_skipped(issuer, verifier):
    metadata = issuer.metadata()
    good = issuer.keys[0].as_dict(private=False)
    strange = [
        {},
        "x",
        {"kty": "oct", "k": "AA", "kid": "a"},
        {"kty": "EC", "kid": "b"},
        {**good, "use": "enc", "kid": "c"},
    ]

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=metadata if "well-known" in request.url.path else {"keys": [*strange, good]})

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    assert await TokenVerifier(issuer.url, "ucmesh", http=client).verify(issuer.token())


def test_an_issuer_on_plain_http_is_refused():
    with pytest.raises(ValueError, match="https"):
        TokenVerifier("http://issuer.example", "ucmesh")


@pytest.mark.parametrize("methods", [None, ["client_secret_basic"], ["client_secret_post"]])
async def test_our_own_token_is_fetched_once_and_accepted_by_a_verifier(issuer, verifier, clock, methods):
    issuer.auth_methods = methods
    issuer.clients["svc"] = "s3cret&="
    credentials = ClientCredentials(issuer.url, "svc", "s3cret&=", scope="mesh.read", http=issuer.client(), clock=clock)
    tokens = await asyncio.gather(*(credentials.token() for _ in range(10)))
    assert len(set(tokens)) == 1
    assert issuer.requests.count("/token") == 1
    assert (await verifier.verify(tokens[0])).scopes == {"mesh.read"}
    clock.advance(issuer.expires_in_seconds - 60)
    await credentials.token()
    assert issuer.requests.count("/token") == 2


async def test_wrong_client_credentials_say_who_must_act(issuer, clock):
    credentials = ClientCredentials(issuer.url, "svc", "hunter2", http=issuer.client(), clock=clock)
    with pytest.raises(Unauthenticated) as caught:
        await credentials.token()
    assert caught.value.code == "client-refused"
    assert caught.value.remedy
    assert "hunter2" not in f"{caught.value} {caught.value.detail} {credentials.__dict__}"


@pytest.mark.parametrize("answer", [httpx.Response(502), httpx.Response(200, json={}), httpx.Response(200, text="x")])
async def test_a_token_endpoint_that_is_not_well_is_unavailable(issuer, answer):
    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=issuer.metadata()) if "well-known" in request.url.path else answer

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    with pytest.raises(Unavailable):
        await ClientCredentials(issuer.url, "svc", "x", http=client).token()
    issuer.down = True
    with pytest.raises(Unavailable):
        await ClientCredentials(issuer.url, "svc", "x", http=issuer.client()).token()
