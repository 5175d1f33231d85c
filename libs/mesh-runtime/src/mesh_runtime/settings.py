"""Settings every service shares, read once from environment variables with the service's prefix.

Owns naming what is missing or wrong in one message a person can act on. Refuses to print values: they may be secrets.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """The process cannot start with this environment; the text names each variable and what to set."""


def check_url(value: str) -> str:
    """A URL whose transport can be trusted: https anywhere, http only on the loopback interface."""
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("must be a URL such as https://issuer.example.org")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must use https; plain http is accepted only on the loopback interface")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


TrustedUrl = Annotated[str, AfterValidator(check_url)]


def _check_database_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
        raise ValueError("must look like postgresql://user:password@host:port/database")
    return value


class BrokerSettings(BaseSettings):
    """How a process reaches the Kafka brokers; a subclass sets `env_prefix`.

    Every field is read from PREFIX + upper-case field name, or from a file of that (lower-case) name in the folder
    named by PREFIX + "SECRETS_DIR". Fields named `*_file` must name an existing file.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True)

    kafka_bootstrap: str = Field(min_length=1, description="Kafka brokers, host:port[,host:port]")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ca_file: Path | None = Field(None, description="CA bundle (PEM) of the brokers")
    kafka_cert_file: Path | None = Field(None, description="our certificate chain (PEM), where brokers ask for one")
    kafka_key_file: Path | None = Field(None, description="our private key (PEM, not encrypted)")

    @model_validator(mode="after")
    def _check_broker(self) -> Self:
        protocol = self.kafka_security_protocol
        if protocol.startswith("SASL"):
            self._need("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
        else:
            self._refuse(protocol, "kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
        if not protocol.endswith("SSL"):
            self._refuse(protocol, "kafka_ca_file", "kafka_cert_file", "kafka_key_file")
        if self.kafka_cert_file is not None or self.kafka_key_file is not None:
            self._need("kafka_cert_file", "kafka_key_file")
        return self

    def _need(self, *names: str) -> None:
        missing = [_variable(type(self), name) for name in names if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{', '.join(missing)} must be set as well")

    def _refuse(self, protocol: str, *names: str) -> None:
        """What would be ignored is refused: nobody shall believe in a password or a CA that is never used."""
        unused = [_variable(type(self), name) for name in names if getattr(self, name) is not None]
        if unused:
            raise ValueError(f"{', '.join(unused)} would not be used with the security protocol {protocol}")


class ServiceSettings(BrokerSettings):
    """Base of every service's settings; a subclass sets `env_prefix` and adds its own fields."""

    database_url: Annotated[SecretStr, AfterValidator(_check_database_url)] = Field(
        description="the service's own PostgreSQL database, postgresql://user:password@host:port/database"
    )
    database_pool_size_max: int = Field(10, ge=1, le=200, description="connections one process may hold")
    oidc_issuer: TrustedUrl = Field(description="issuer URL of the bearer tokens to accept, https://...")
    oidc_audience: str = Field("ucmesh", min_length=1, description="audience a token must name")
    ca_file: Path | None = Field(None, description="extra CA bundle (PEM) for outgoing TLS")
    http_host: str = "127.0.0.1"
    http_port: int = Field(ge=0, le=65535, description="port of the HTTP API")
    http_cert_file: Path | None = Field(None, description="certificate chain (PEM) to serve HTTPS")
    http_key_file: Path | None = Field(None, description="private key (PEM) to serve HTTPS")
    kek_file: Path = Field(description='key-encryption keys, JSON {"active": "k1", "keys": {"k1": base64 of 32 bytes}}')
    sealing_key_file: Path | None = Field(
        None, description="private JWK (EC P-256) for what others seal for this service"
    )
    otlp_endpoint: str | None = Field(None, description="OTLP/HTTP base URL for traces; unset means no tracing")
    trace_ratio: float = Field(1.0, ge=0.0, le=1.0, description="share of new traces that are sampled")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    startup_seconds: float = Field(300, ge=0, le=3600, description="time a start waits for the database")
    drain_seconds: float = Field(10, ge=0, le=300, description="time to finish work after a stop signal")
    http_linger_seconds: float = Field(
        3, ge=0, le=60, description="time the port stays open after readiness says no, for who balances load to notice"
    )

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.http_key_file is not None:
            self._need("http_cert_file")
        if self.http_linger_seconds > self.drain_seconds:
            names = [_variable(type(self), name) for name in ("http_linger_seconds", "drain_seconds")]
            raise ValueError(f"{names[0]} must not be more than {names[1]}")
        return self


S = TypeVar("S", bound=BaseSettings)


def load_settings(cls: type[S]) -> S:
    """Reads the environment into `cls`.

    Raises SettingsError whose text has one line per missing or invalid variable; values are never shown.
    """
    prefix = cls.model_config.get("env_prefix", "")
    secrets = os.environ.get(f"{prefix}SECRETS_DIR")
    if secrets is not None and not Path(secrets).is_dir():
        raise SettingsError(f"cannot start, 1 setting to fix:\n  {prefix}SECRETS_DIR: no such folder")
    try:
        settings = cls(_secrets_dir=secrets)
    except ValidationError as error:
        raise SettingsError(_explain(cls, error)) from None
    missing = [
        name for name in cls.model_fields if name.endswith("_file") and not _is_readable(getattr(settings, name))
    ]
    if missing:
        raise SettingsError(_message([f"{_variable(cls, name)}: no readable file at that path" for name in missing]))
    return settings


def _is_readable(value: object) -> bool:
    return not isinstance(value, Path) or (value.is_file() and os.access(value, os.R_OK))


def _explain(cls: type[BaseSettings], error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        field = cls.model_fields.get(name)
        hint = field.description if field is not None else None
        reason = "is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        lines.append(f"{_variable(cls, name)}: {reason}" + (f" (set {hint})" if hint else ""))
    return _message(lines)


def _variable(cls: type[BaseSettings], name: str) -> str:
    return f"{cls.model_config.get('env_prefix', '')}{name}".upper() if name else "the settings as a whole"


def _message(lines: list[str]) -> str:
    noun = "setting" if len(lines) == 1 else "settings"
    return "\n".join([f"cannot start, {len(lines)} {noun} to fix:", *(f"  {line}" for line in lines)])
