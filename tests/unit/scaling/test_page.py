"""docs/scaling.md names metrics and settings of the code, and none that do not exist."""

import re
from pathlib import Path

from support import declared

PAGE = Path(__file__).resolve().parents[3] / "docs" / "scaling.md"


def test_every_metric_of_the_page_exists() -> None:
    named = set(re.findall(r"`(ucmesh_[a-z_]+)`", PAGE.read_text("utf-8")))
    known = {name for service in declared.services().values() for name in service.metrics}

    assert len(named) > 5
    assert named - known == set()


def test_every_setting_of_the_page_exists() -> None:
    named = set(
        re.findall(r"`((?:ORCHESTRATOR|GRAPH_ADAPTER|PWSH_GATEWAY|CERT_MANAGER)_[A-Z_]+)`", PAGE.read_text("utf-8"))
    )
    known = {name for service in declared.services().values() for name in service.settings}

    assert named
    assert named - known == set()
