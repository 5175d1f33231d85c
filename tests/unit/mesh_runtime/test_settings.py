"""Settings: what is missing is named, what is secret is not shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from mesh_runtime.settings import ServiceSettings, SettingsError, check_url, load_settings


class SampleSettings(ServiceSettings):
    """A service with one setting of its own."""

    model_config = SettingsConfigDict(env_prefix="SAMPLE_")

    receivers_file: Path | None = None


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """A complete environment; a test changes one thing in it."""
    kek = tmp_path / "kek.json"
    kek.write_text("{}")
    values = {
        "DATABASE_URL": "postgresql://app:hunter2@db.example/orders",
        "KAFKA_BOOTSTRAP": "kafka:9092",
        "OIDC_ISSUER": "https://issuer.example",
        "HTTP_PORT": "8080",
        "KEK_FILE": str(kek),
    }
    for name, value in values.items():
        monkeypatch.setenv(f"SAMPLE_{name}", value)
    return monkeypatch


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(SampleSettings)
    return str(caught.value)


def test_a_complete_environment_loads_with_safe_defaults(environment):
    settings = load_settings(SampleSettings)
    assert settings.database_url.get_secret_value().endswith("/orders")
    assert (settings.database_pool_size_max, settings.http_host, settings.http_port) == (10, "127.0.0.1", 8080)
    assert (settings.oidc_audience, settings.trace_ratio, settings.drain_seconds) == ("ucmesh", 1.0, 10)
    assert "hunter2" not in repr(settings)


def test_every_missing_variable_is_named_with_what_to_set(monkeypatch):
    text = refusal()
    assert text.startswith("cannot start, 5 settings to fix:")
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP", "OIDC_ISSUER", "HTTP_PORT", "KEK_FILE"):
        assert f"SAMPLE_{name}: is not set (set " in text


def test_an_empty_variable_is_a_missing_one(environment):
    environment.setenv("SAMPLE_DATABASE_URL", "")
    assert "SAMPLE_DATABASE_URL: is not set" in refusal()


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("DATABASE_URL", "mysql://app:hunter2@db/orders", "postgresql://"),
        ("DATABASE_URL", "postgresql://app:hunter2@db/", "postgresql://"),
        ("HTTP_PORT", "hunter2", "integer"),
        ("HTTP_PORT", "70000", "65535"),
        ("TRACE_RATIO", "1.5", "less than or equal to 1"),
        ("OIDC_ISSUER", "http://hunter2.example", "https"),
        ("OIDC_ISSUER", "hunter2", "URL"),
        ("LOG_LEVEL", "hunter2", "DEBUG"),
        ("KAFKA_SECURITY_PROTOCOL", "hunter2", "SASL_SSL"),
    ],
)
def test_a_wrong_value_is_explained_and_never_shown(environment, name, value, part):
    environment.setenv(f"SAMPLE_{name}", value)
    text = refusal()
    assert text.startswith("cannot start, 1 setting to fix:")
    assert f"SAMPLE_{name}: " in text
    assert part in text
    assert "hunter2" not in text


@pytest.mark.parametrize("name", ["KEK_FILE", "SEALING_KEY_FILE", "CA_FILE", "RECEIVERS_FILE"])
def test_a_file_that_is_not_there_is_named(environment, name):
    environment.setenv(f"SAMPLE_{name}", "/nowhere/at/all")
    assert refusal() == f"cannot start, 1 setting to fix:\n  SAMPLE_{name}: no readable file at that path"


def test_secrets_may_come_from_a_folder_of_files(environment, tmp_path):
    environment.delenv("SAMPLE_DATABASE_URL")
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "sample_database_url").write_text("postgresql://app:fromfile@db/orders\n")
    environment.setenv("SAMPLE_SECRETS_DIR", str(folder))
    assert load_settings(SampleSettings).database_url == SecretStr("postgresql://app:fromfile@db/orders")
    environment.setenv("SAMPLE_SECRETS_DIR", str(folder / "gone"))
    assert "SAMPLE_SECRETS_DIR: no such folder" in refusal()


def test_the_port_cannot_stay_open_longer_than_the_process_has_to_end(environment):
    environment.setenv("SAMPLE_HTTP_LINGER_SECONDS", "11")
    assert "SAMPLE_HTTP_LINGER_SECONDS must not be more than SAMPLE_DRAIN_SECONDS" in refusal()


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "PLAIN"}, "KAFKA_SASL_USERNAME"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_CERT_FILE": "/x"}, "KAFKA_KEY_FILE"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_KEY_FILE": "/x"}, "KAFKA_CERT_FILE"),
        ({"HTTP_KEY_FILE": "/x"}, "HTTP_CERT_FILE"),
    ],
)
def test_what_belongs_together_is_asked_for_together(environment, given, needed):
    for name, value in given.items():
        environment.setenv(f"SAMPLE_{name}", value)
    text = refusal()
    assert f"SAMPLE_{needed}" in text
    assert "must be set as well" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("protocol", "unused"),
    [
        ("PLAINTEXT", {"KAFKA_SASL_USERNAME": "x", "KAFKA_SASL_PASSWORD": "hunter2"}),
        ("PLAINTEXT", {"KAFKA_CA_FILE": "/x"}),
        ("SSL", {"KAFKA_SASL_PASSWORD": "hunter2"}),
        ("SASL_PLAINTEXT", {"KAFKA_CERT_FILE": "/x", "KAFKA_KEY_FILE": "/x"}),
    ],
)
def test_broker_credentials_that_would_not_be_used_are_refused(environment, protocol, unused):
    environment.setenv("SAMPLE_KAFKA_SECURITY_PROTOCOL", protocol)
    if protocol.startswith("SASL"):
        for name, value in (("MECHANISM", "SCRAM-SHA-512"), ("USERNAME", "x"), ("PASSWORD", "y")):
            environment.setenv(f"SAMPLE_KAFKA_SASL_{name}", value)
    for name, value in unused.items():
        environment.setenv(f"SAMPLE_{name}", value)
    text = refusal()
    assert f"would not be used with the security protocol {protocol}" in text
    for name in unused:
        assert f"SAMPLE_{name}" in text
    assert "hunter2" not in text


def test_other_variables_with_the_prefix_are_left_alone(environment):
    environment.setenv("SAMPLE_SOMETHING_ELSE", "x")
    load_settings(SampleSettings)


@pytest.mark.parametrize(
    "url", ["https://a.example/x", "http://localhost:1/x", "http://127.0.0.21:9", "http://[::1]:9"]
)
def test_trusted_urls(url):
    assert check_url(url) == url


@pytest.mark.parametrize("url", ["http://a.example", "ftp://a", "https://", "http://127.evil.example"])
def test_urls_without_trusted_transport_are_refused(url):
    with pytest.raises(ValueError, match="must"):
        check_url(url)
