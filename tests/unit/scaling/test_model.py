"""The arithmetic of docs/scaling.md: even where it should be, and the page has what it computes."""

from math import ceil
from pathlib import Path

import pytest
from scaling import spread, turns
from scaling.rows import markdown, rows
from scaling.world import LARGEST_SHARE_MAX, world

from graph_adapter.domain.fairness import Limits
from mesh_messaging.schema import SHARD_COUNT

PAGE = Path(__file__).resolve().parents[3] / "docs" / "scaling.md"
TENANTS, PEOPLE = 500, 1_000_000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tenants_are_skewed_and_none_is_everything(seed: int) -> None:
    everybody = world(seed, TENANTS, PEOPLE)

    assert everybody.all_people == pytest.approx(PEOPLE, rel=0.01)
    assert everybody.people[0] <= PEOPLE * LARGEST_SHARE_MAX * 1.01
    assert everybody.share_of_largest(TENANTS // 5) > 0.5
    assert everybody == world(seed, TENANTS, PEOPLE)


def test_keys_of_targets_spread_and_keys_of_tenants_do_not() -> None:
    everybody = world(1, TENANTS, PEOPLE)

    by_target = spread.busiest_partition(everybody, 1, 12, 20_000, by_tenant=False)
    by_tenant = spread.busiest_partition(everybody, 1, 12, 20_000, by_tenant=True)

    assert 1 <= by_target < 1.1 < by_tenant


@pytest.mark.parametrize("replicas", [1, 2, 4, 5, 12, 36, 40])
def test_every_partition_has_one_replica_and_none_has_two_more_than_another(replicas: int) -> None:
    shared = spread.partitions_of_replicas(replicas, 12)

    assert sum(shared) == 12 * len(spread.ORCHESTRATOR_TOPICS)
    assert max(shared) - min(shared) <= 1


@pytest.mark.parametrize("relays", range(1, 20))
def test_every_shard_has_one_relay(relays: int) -> None:
    assert sum(spread.shards_of_relays(relays)) == SHARD_COUNT


@pytest.mark.parametrize("workers", [1, 3])
def test_nobody_waits_longer_than_a_round_of_all(workers: int) -> None:
    limits = Limits(runs_max=4)
    backlogs = [1_000, *([2] * 99)]

    done = turns.simulate(backlogs, workers, 1, people_a_step_max=2, limits=limits, steps_max=2_000)

    assert max(done.first_wait) <= ceil(len(backlogs) / (limits.runs_max * workers))
    assert len(done.first_wait) == len(backlogs)
    assert done.done[0] >= 500


def test_the_page_has_the_figures_of_the_model() -> None:
    assert markdown(rows(1, 10_000, 50_000_000)) in PAGE.read_text("utf-8")
