"""Secrets are made once, are readable by their owner only, and the certificates verify."""

import datetime
import ssl
import stat
from pathlib import Path

import orjson
import pytest
from cryptography import x509
from joserfc.jwk import ECKey

from ucmesh_embedded import keys as keys_module
from ucmesh_embedded.keys import Keys


def test_each_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    made = [keys.kek_file("x"), keys.sealing_key_file("x"), keys.issuer_key_file(), keys.password_file("x")]
    before = [file.read_bytes() for file in made]
    assert [keys.kek_file("x"), keys.sealing_key_file("x"), keys.issuer_key_file(), keys.password_file("x")] == made
    assert [file.read_bytes() for file in made] == before
    assert {stat.S_IMODE(file.stat().st_mode) for file in made} == {0o600}


def test_the_public_half_holds_no_private_number(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    public = orjson.loads(keys.sealing_public_file("graph-adapter").read_bytes())
    assert "d" not in public
    private = ECKey.import_key(orjson.loads(keys.sealing_key_file("graph-adapter").read_bytes()))
    assert public["kid"] == private.kid
    assert orjson.loads(keys.receivers_file(["graph-adapter"]).read_bytes()) == {"graph-adapter": public}


def test_a_half_written_secret_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "x.secret.part").write_text("half")
    assert len(Keys(tmp_path).password("x")) > 20


def test_the_server_certificate_is_the_cas_and_names_loopback(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.issue_server_certificate()
    context = ssl.create_default_context(cafile=str(keys.ca_file))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(keys.server_cert_file, keys.server_key_file)
    server = x509.load_pem_x509_certificate(keys.server_cert_file.read_bytes())
    ca = x509.load_pem_x509_certificate(keys.ca_file.read_bytes())
    server.verify_directly_issued_by(ca)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert context.cert_store_stats()["x509_ca"] == 1


def test_a_certificate_about_to_end_is_renewed_and_a_good_one_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(tmp_path)
    monkeypatch.setattr(keys_module, "SERVER_DAYS", keys_module.RENEW_DAYS - 1)
    keys.issue_server_certificate()
    ca = keys.ca_file.read_bytes()
    monkeypatch.undo()
    keys.issue_server_certificate()
    renewed = keys.server_cert_file.read_bytes()
    left = x509.load_pem_x509_certificate(renewed).not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert left.days > keys_module.RENEW_DAYS
    keys.issue_server_certificate()
    assert keys.server_cert_file.read_bytes() == renewed
    assert keys.ca_file.read_bytes() == ca
