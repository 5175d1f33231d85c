"""Settings of the orchestrator, read from ORCHESTRATOR_* by main only."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from mesh_runtime.settings import ServiceSettings
from orchestrator.adapters.db.recent_plans import RECENT_PLANS_MAX


class OrchestratorSettings(ServiceSettings):
    """What every service has, and how patient plans are."""

    model_config = SettingsConfigDict(env_prefix="ORCHESTRATOR_")

    cert_manager_jwk_file: Path = Field(
        description="public JWK (EC P-256) of cert-manager, for which bootstrap secrets are sealed"
    )
    patience: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor on every pause, retry and gate deadline of a plan: 1 for Microsoft's own pace, "
        "less only for a simulated tenant that answers faster",
    )
    observe_every_seconds: float = Field(
        900, ge=5, le=86_400, description="how often licences, groups and permissions of a tenant are read"
    )
    consumer_batch_size_max: int = Field(1_000, ge=1, le=10_000, description="messages handled in one transaction")
    recent_plans_max: int = Field(
        RECENT_PLANS_MAX,
        ge=0,
        le=100_000,
        description="plans in flight whose operations stay in memory (about 12 KB each), so that a reply need not read "
        "them all again; each use is proven against the database",
    )
