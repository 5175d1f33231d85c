"""Sealed values open only unchanged, under their context, with their key."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe, jwk

from mesh_runtime.errors import InvalidInput, TooLarge
from mesh_runtime.sealing import JWE_PLAINTEXT_BYTES_MAX, PLAINTEXT_BYTES_MAX, Sealer, SealingKey, seal_for
from mesh_runtime.settings import SettingsError

K1, K2 = b"1" * 32, b"2" * 32
OLD = Sealer({"k1": K1}, "k1")
BOTH = Sealer({"k1": K1, "k2": K2}, "k2")
RECIPIENT = SealingKey.generate("gateway-1")


@given(st.binary(max_size=200), st.text(max_size=30))
def test_a_sealed_value_opens_under_its_context(plaintext, context):
    sealed = OLD.seal(plaintext, context=context)
    assert OLD.open(sealed, context=context) == plaintext


def test_the_plaintext_is_not_in_the_sealed_value():
    assert b"secret" not in OLD.seal(b"secret", context="c")


def test_the_same_value_never_seals_to_the_same_bytes():
    assert OLD.seal(b"x", context="c") != OLD.seal(b"x", context="c")


def test_another_context_or_another_key_of_that_name_does_not_open():
    sealed = OLD.seal(b"secret", context="credential:1")
    with pytest.raises(InvalidInput):
        OLD.open(sealed, context="credential:2")
    with pytest.raises(InvalidInput):
        Sealer({"k1": K2}, "k1").open(sealed, context="credential:1")


def test_an_unknown_key_is_named():
    sealed = BOTH.seal(b"secret", context="c")
    with pytest.raises(InvalidInput) as caught:
        OLD.open(sealed, context="c")
    assert (caught.value.code, caught.value.detail) == ("sealing-key-unknown", {"kid": "k2"})


def test_no_byte_may_change():
    sealed = OLD.seal(b"secret", context="c")
    for index in range(len(sealed)):
        changed = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(InvalidInput):
            OLD.open(changed, context="c")
    for length in range(len(sealed)):
        with pytest.raises(InvalidInput):
            OLD.open(sealed[:length], context="c")


@given(st.binary(max_size=100))
def test_any_bytes_are_at_worst_invalid_input(garbage):
    for value in (garbage, b"UMS\x01" + garbage, b"UMS\x01\x02k1" + garbage):
        with pytest.raises(InvalidInput):
            OLD.open(value, context="c")


def test_resealing_moves_to_the_active_key_and_leaves_current_ones_alone():
    sealed = OLD.seal(b"secret", context="c")
    assert BOTH.is_stale(sealed)
    moved = BOTH.reseal(sealed, context="c")
    assert not BOTH.is_stale(moved)
    assert BOTH.open(moved, context="c") == b"secret"
    assert BOTH.reseal(moved, context="c") is moved
    with pytest.raises(InvalidInput):
        BOTH.reseal(sealed, context="other")


def test_keys_are_checked_when_given():
    with pytest.raises(ValueError, match="active"):
        Sealer({"k1": K1}, "k2")
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer({"k1": b"short"}, "k1")
    with pytest.raises(ValueError, match="1 to 64"):
        Sealer({"": K1}, "")
    with pytest.raises(TooLarge):
        OLD.seal(bytes(PLAINTEXT_BYTES_MAX + 1), context="c")


def write_keys(path, active, **keys):
    path.write_text(json.dumps({"active": active, "keys": {k: base64.b64encode(v).decode() for k, v in keys.items()}}))


def test_keys_that_were_changed_in_the_file_count_from_the_next_use(tmp_path):
    path = tmp_path / "kek.json"
    write_keys(path, "k1", k1=K1)
    sealer = Sealer.from_file(path)
    old = sealer.seal(b"secret", context="c")
    write_keys(path, "k2", k1=K1, k2=K2)
    new = sealer.seal(b"secret", context="c")
    assert Sealer({"k2": K2}, "k2").open(new, context="c") == b"secret"
    assert sealer.open(old, context="c") == b"secret"
    assert (sealer.active, sealer.kids, sealer.is_stale(old)) == ("k2", {"k1", "k2"}, True)
    write_keys(path, "k2", k2=K2)
    with pytest.raises(InvalidInput, match="'k1'"):
        sealer.open(old, context="c")


def test_a_key_file_that_broke_or_went_leaves_the_keys_as_they_are(tmp_path):
    path = tmp_path / "kek.json"
    write_keys(path, "k1", k1=K1)
    sealer = Sealer.from_file(path)
    for spoil in (lambda: path.write_text("{"), path.unlink):
        spoil()
        assert sealer.open(sealer.seal(b"secret", context="c"), context="c") == b"secret"
    write_keys(path, "k2", k2=K2)
    assert sealer.active == "k2"


def test_key_files(tmp_path):
    path = tmp_path / "kek.json"
    write_keys(path, "k1", k1=K1)
    assert OLD.open(Sealer.from_file(path).seal(b"x", context="c"), context="c") == b"x"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"active":"k1","keys":[]}',
        '{"active":"k1","keys":{"k1":"hunter2"}}',
        '{"active":"k1","keys":{"k1":7}}',
    ],
)
def test_a_broken_key_file_is_named_and_not_shown(tmp_path, content):
    path = tmp_path / "kek.json"
    path.write_text(content)
    for read in (Sealer.from_file, SealingKey.from_file):
        with pytest.raises(SettingsError, match=r"kek\.json") as caught:
            read(path)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingsError, match="No such file"):
        Sealer.from_file(tmp_path / "gone")


@given(st.binary(max_size=100), st.text(max_size=30))
def test_a_value_sealed_for_a_recipient_opens_there_under_its_context(plaintext, context):
    assert RECIPIENT.open(seal_for(RECIPIENT.public_jwk, plaintext, context=context), context=context) == plaintext


def test_the_header_names_key_context_and_version():
    header = json.loads(
        base64.urlsafe_b64decode(seal_for(RECIPIENT.public_jwk, b"x", context="c").split(".")[0] + "==")
    )
    assert header.pop("epk")["crv"] == "P-256"
    assert header == {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "kid": "gateway-1", "ctx": "c", "v": 1}


def test_other_keys_other_contexts_and_changed_values_do_not_open():
    token = seal_for(RECIPIENT.public_jwk, b"secret", context="c")
    with pytest.raises(InvalidInput):
        RECIPIENT.open(token, context="d")
    with pytest.raises(InvalidInput):
        SealingKey.generate("gateway-1").open(token, context="c")
    parts = token.split(".")
    for index in range(5):
        part = parts[index]
        changed = [*parts]
        changed[index] = ("A" if part[0] != "A" else "B") + part[1:]
        with pytest.raises(InvalidInput):
            RECIPIENT.open(".".join(changed), context="c")


@pytest.mark.parametrize("garbage", ["", "....", "a.b.c", "a.b.c.d.e", "\x00", "é.é.é.é.é", "x" * 200_000])
def test_any_text_is_at_worst_invalid_input(garbage):
    with pytest.raises(InvalidInput):
        RECIPIENT.open(garbage, context="c")


def test_a_weaker_or_versionless_jwe_is_refused_even_when_the_key_fits():
    key = jwk.ECKey.import_key(RECIPIENT.public_jwk)
    for header in (
        {"alg": "ECDH-ES", "enc": "A256GCM", "ctx": "c", "v": 1},
        {"alg": "ECDH-ES+A256KW", "enc": "A128CBC-HS256", "ctx": "c", "v": 1},
        {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "ctx": "c"},
        {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "ctx": "c", "v": 2},
    ):
        registry = jwe.JWERegistry(algorithms=[header["alg"], header["enc"]], strict_check_header=False)
        with pytest.raises(InvalidInput):
            RECIPIENT.open(jwe.encrypt_compact(header, b"x", key, registry=registry), context="c")


def test_only_ec_p256_keys_are_accepted():
    p384 = jwk.ECKey.generate_key("P-384").as_dict(private=True)
    off_curve = {**RECIPIENT.public_jwk, "y": RECIPIENT.public_jwk["x"]}
    for wrong in ({}, p384, {"kty": "oct", "k": "AA"}, off_curve, {**RECIPIENT.public_jwk, "crv": "P-384"}):
        with pytest.raises(InvalidInput):
            seal_for(wrong, b"x", context="c")
        with pytest.raises(ValueError, match="P-256"):
            SealingKey.from_jwk(wrong)
    with pytest.raises(ValueError, match="P-256"):
        SealingKey.from_jwk(RECIPIENT.public_jwk)
    with pytest.raises(TooLarge):
        seal_for(RECIPIENT.public_jwk, bytes(JWE_PLAINTEXT_BYTES_MAX + 1), context="c")


def test_the_largest_value_fits(tmp_path):
    path = tmp_path / "key.json"
    path.write_text(json.dumps(RECIPIENT.private_jwk))
    reader = SealingKey.from_file(path)
    assert (reader.kid, reader.public_jwk) == (RECIPIENT.kid, RECIPIENT.public_jwk)
    assert "d" not in reader.public_jwk
    plaintext = bytes(JWE_PLAINTEXT_BYTES_MAX)
    assert reader.open(seal_for(RECIPIENT.public_jwk, plaintext, context="c" * 200), context="c" * 200) == plaintext


def test_a_key_without_a_name_is_named_by_its_thumbprint():
    key = SealingKey.generate()
    assert len(key.kid) == 43
    assert SealingKey.from_jwk({name: value for name, value in key.private_jwk.items() if name != "kid"}).kid == key.kid
