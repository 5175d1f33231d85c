"""From what the brokers hold to what is declared: which changes, which refusals, and what only pruning takes away."""

from dataclasses import replace

from mesh_messaging.topics import Declaration, Right, State, Topic, compare

THINGS = Topic("ucmesh.test.things.v1", 6, 3, {"retention.ms": "1000"})
MAKER = Right("User:maker", "Write", "Topic", THINGS.name)
DECLARED = Declaration([THINGS], frozenset({MAKER}))


def state(*topics: Topic, rights: frozenset[Right] | None = frozenset({MAKER})) -> State:
    return State({topic.name: topic for topic in topics}, rights)


def lines(declared: Declaration, there: State, *, prune: bool = False) -> list[str]:
    return [str(change) for change in compare(declared, there, prune=prune).changes]


def test_nothing_there_means_everything_is_made() -> None:
    assert lines(DECLARED, State()) == [
        "+ topic ucmesh.test.things.v1: 6 partitions x 3, retention.ms=1000",
        "+ right User:maker: Write Topic ucmesh.test.things.v1",
    ]


def test_what_is_there_is_left_alone() -> None:
    same = compare(DECLARED, state(THINGS), prune=True)
    assert (same.changes, same.refusals, same.kept) == ([], [], ())


def test_partitions_grow_and_settings_change() -> None:
    there = replace(THINGS, partitions=2, config={"retention.ms": "5"})
    assert lines(DECLARED, state(there)) == [
        "~ topic ucmesh.test.things.v1: 2 -> 6 partitions (keys move)",
        "~ topic ucmesh.test.things.v1: retention.ms 5 -> 1000",
    ]


def test_fewer_partitions_and_another_number_of_copies_are_refused_with_what_to_do() -> None:
    fewer = compare(DECLARED, state(replace(THINGS, partitions=12)))
    assert "has 12 partitions, 6 are declared" in fewer.refusals[0]
    copies = compare(DECLARED, state(replace(THINGS, replication=1)))
    assert "has 1 copies, 3 are declared" in copies.refusals[0]
    assert "kafka-reassign-partitions" in copies.refusals[0]


def test_a_setting_that_is_not_declared_survives_a_change_and_goes_with_pruning() -> None:
    there = replace(THINGS, config={"retention.ms": "5", "segment.ms": "9"})
    kept = compare(DECLARED, state(there))
    assert [dict(change.config) for change in kept.changes if hasattr(change, "config")] == [
        {"retention.ms": "1000", "segment.ms": "9"}
    ]
    assert [str(change) for change in kept.kept] == ["~ topic ucmesh.test.things.v1: segment.ms 9 -> default"]
    last = compare(DECLARED, state(there), prune=True).changes[-1]
    assert getattr(last, "config", None) == {"retention.ms": "1000"}


def test_pruning_takes_only_what_is_of_the_mesh() -> None:
    stranger = Right("User:else", "Read", "Topic", "else.topic")
    spy = Right("User:else", "Read", "Topic", THINGS.name)
    more = Right("User:maker", "All", "Topic", "else.topic")
    there = state(
        THINGS, Topic("ucmesh.old.v1", 1), Topic("else.topic", 1), rights=frozenset({MAKER, stranger, spy, more})
    )
    gone = [
        "- right User:else: Read Topic ucmesh.test.things.v1",
        "- right User:maker: All Topic else.topic",
        "- topic ucmesh.old.v1 with its records",
    ]
    assert lines(DECLARED, there, prune=True) == gone
    untouched = compare(DECLARED, there)
    assert (untouched.changes, [str(change) for change in untouched.kept]) == ([], gone)


def test_brokers_without_an_authorizer_get_no_rights() -> None:
    assert lines(DECLARED, state(THINGS, rights=None)) == []


def test_a_right_says_what_is_special_about_it() -> None:
    special = Right("User:x", "Read", "Topic", "a", "Prefixed", "10.0.0.1", "Deny")
    assert str(special) == "User:x: Deny Read Topic a (Prefixed) from 10.0.0.1"
