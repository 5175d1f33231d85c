"""The settings of this service, GRAPH_ADAPTER_*; read only by main.

Owns names, defaults and bounds. Refuses defaults for secrets and addresses.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from mesh_runtime.settings import ServiceSettings, TrustedUrl


class GraphAdapterSettings(ServiceSettings):
    """See README.md, section Configuration."""

    model_config = SettingsConfigDict(env_prefix="GRAPH_ADAPTER_")

    sealing_key_file: Path = Field(description="private JWK (EC P-256) that credentials are sealed for")
    login_url: TrustedUrl | None = Field(None, description="sign-in address instead of Microsoft's (simulator)")
    graph_url: TrustedUrl | None = Field(
        None, description="Graph address with version instead of Microsoft's (simulator)"
    )
    templates_dir: Path | None = Field(None, description="folder of operation templates that add to or replace ours")
    graph_timeout_seconds: float = Field(30, gt=0, le=300)
    graph_connections_max: int = Field(100, ge=1, le=1000)
    lease_seconds: float = Field(
        60, ge=1, le=600, description="after this the operations of a dead worker are recovered"
    )
    poll_seconds: float = Field(0.05, ge=0.01, le=60)
    run_size_max: int = Field(200, ge=1, le=2000, description="targets of one tenant in one run")
    tenant_in_flight_max: int = Field(2_000, ge=1, le=20_000, description="targets of one tenant over all replicas")
    runs_max: int = Field(24, ge=1, le=500, description="runs of this process")
    runs_per_tenant_max: int = Field(3, ge=1, le=50)
    batches_per_run_max: int = Field(4, ge=1, le=50, description="$batch calls of one run under way at a time")
    keep_days: int = Field(7, ge=1, le=365, description="how long finished operations are kept")
    consumer_batch_size_max: int = Field(1_000, ge=1, le=5_000)
