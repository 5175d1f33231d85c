"""CERT_MANAGER_*: read by main only."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from mesh_runtime.settings import ServiceSettings


class CertManagerSettings(ServiceSettings):
    """What cert-manager needs beside what every service needs."""

    model_config = SettingsConfigDict(
        env_prefix="CERT_MANAGER_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    receivers_file: Path = Field(
        description='public keys of the receivers, JSON {"graph-adapter": JWK, "pwsh-gateway": JWK}'
    )
    probe_retry_first_seconds: float = Field(2.0, gt=0, description="pause before a canary log-in is tried again")
    verify_deadline_seconds: float = Field(900.0, gt=0, description="how long canary log-ins may take in all")
