"""Fixtures every part shares: real PostgreSQL, real Apache Kafka, and the closing count of what ran on them.

Each pytest worker has servers of its own, so a test may kill them without disturbing another worker.
"""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from xdist.scheduler import LoadScopeScheduling

from support import real_parts
from support.mesh import Mesh, running
from support.real_parts import Kafka, Postgres
from ucmesh_embedded.topology import Options

NO_PWSH = "no pwsh on PATH"
PARTS = {"kafka": "Apache Kafka", "postgres": "PostgreSQL", "pwsh": "PowerShell (pwsh)"}
MESHES = {"mesh", "office"}
MESH_FOLDERS = {
    "tests/e2e/test_restore.py": "mesh in trouble",
    "tests/e2e/": "mesh in use",
    "tests/faults/chaos/": "mesh in use",
    "tests/faults/mesh/": "mesh in trouble",
    "tests/integration/embedded/test_mesh.py": "mesh in trouble",
    "tests/replay/": "mesh in trouble",
}
"""Where tests run a whole stack, and the worker that has it: two at once, no more. Both take about as long."""
FIXTURES = {
    "kafka": {"kafka_bootstrap", "kafka_broker", *MESHES},
    "postgres": {"postgres_server", "postgres_url", "fresh_database", *MESHES},
    "pwsh": set[str](),
}
USED = "ucmesh-runs-on"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The worker's PostgreSQL; `restart()`, `kill()`, `start()` where it is ours."""
    with real_parts.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def fresh_database(postgres_server: Postgres) -> Callable[[], str]:
    """A factory: each call makes a fresh, empty database and returns its `postgresql://` URL."""
    return postgres_server.create_database


@pytest.fixture(scope="module")
def postgres_url(fresh_database: Callable[[], str]) -> str:
    """The URL of one empty database for the module's tests."""
    return fresh_database()


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Kafka]:
    """The worker's broker; `restart()`, `kill()`, `stop()`, `start()` where it is ours."""
    with real_parts.kafka() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_broker: Kafka) -> str:
    """host:port of the worker's broker. Topics persist over the session: use names of your own."""
    return kafka_broker.bootstrap


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    """The worker's whole mesh: servers, services, a simulator without tenants, real PowerShell where there is one."""
    options = Options(durable=False, crashes_max=1_000)
    with real_parts.server_folder() as folder, running(folder / "home", options) as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a real part, note it on the report, and skip PowerShell tests where there is none."""
    pwsh = shutil.which("pwsh")
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        for part, fixtures in FIXTURES.items():
            if names & fixtures:
                item.add_marker(part)
            if item.get_closest_marker(part):
                item.user_properties.append((USED, part))
        if item.get_closest_marker("pwsh") and not pwsh:
            item.add_marker(pytest.mark.skip(reason=NO_PWSH))


class Workers(LoadScopeScheduling):
    """Among parallel workers a file stays together, and two of them alone have a whole mesh."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(nodeid).partition("::")[0]
        return next((worker for folder, worker in MESH_FOLDERS.items() if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Workers:
    """Files are handed out in their order, so that the slow kinds come first."""
    config.option.loadscopereorder = False
    return Workers(config, log)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Functions by their name, random ids as `uuid`: parallel workers have to agree on the names of tests."""
    if isinstance(val, str) and UUID.search(val):
        return UUID.sub("uuid", val)
    return getattr(val, "__name__", None) if callable(val) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran on each real part, and why the others did not."""
    ran: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for outcome in ("passed", "failed", "xfailed", "xpassed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            parts = [value for name, value in report.user_properties if name == USED]
            (skipped if outcome == "skipped" else ran).update(parts)
    terminalreporter.section("real parts", sep="-")
    for part, title in PARTS.items():
        why = f" ({NO_PWSH})" if part == "pwsh" and not shutil.which("pwsh") else ""
        note = f", {skipped[part]} skipped{why}" if skipped[part] else why
        terminalreporter.write_line(f"tests that ran on {title}: {ran[part]}{note}")
