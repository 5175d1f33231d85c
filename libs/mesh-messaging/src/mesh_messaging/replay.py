"""Replay of a topic: a stopped consumer group reads a stretch of it again, and its inbox drops what its database knows.

    committed offset ──back to──> an offset, a time, or the beginning       (never forward: that would lose messages)
    read again: known to the inbox -> dropped      unknown, as in a restored database -> handled

Owns the command `replay` of the services. Refuses a group that has members (so does the broker), topics the service
does not consume, and records older than what an inbox remembers: it would handle those twice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from mesh_messaging.inbox import KEEP
from mesh_messaging.kafka import REQUEST_TIMEOUT_MS, KafkaSettings, client_options
from mesh_messaging.names import bulk_group
from mesh_runtime.errors import Conflict, InvalidInput, MeshError, Unavailable

EXIT_REFUSED = 1
MEMBERS_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin; all unset = at the beginning. `offset` is of one `partition`, `time` is of all or of one."""

    offset: int | None = None
    time: datetime | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What the group reads again of one partition. `committed` unset: it never read here, there is no again.

    `gone` records of what was asked for are no longer in the topic; `forgotten` ones are older than an inbox remembers.
    """

    partition: int
    begin: int
    committed: int | None
    end: int
    gone: int = 0
    forgotten: int = 0

    @property
    def count(self) -> int:
        """Records that are read a second time."""
        return max((self.committed or 0) - self.begin, 0)


async def run(
    argv: Sequence[str], kafka: KafkaSettings, *, name: str, topics: Sequence[str], bulk_topics: Sequence[str] = ()
) -> int:
    """The command `replay TOPIC ...` of a service whose consumer is `name`: 0 done, 1 refused, 2 wrong usage."""
    asked = _parse(argv, (*topics, *bulk_topics))
    group = bulk_group(name) if asked.topic in bulk_topics else name
    start = Start(asked.from_offset, asked.from_time, asked.partition)
    try:
        async with Replay(kafka, group) as replay:
            await replay.check_stopped()
            stretches = await replay.plan(asked.topic, start)
            count = _show(asked.topic, group, stretches)
            if asked.dry_run or not count:
                sys.stdout.write("nothing was changed\n")
                return 0
            if not asked.yes and not _confirmed(group):
                return EXIT_REFUSED
            await replay.carry_out(asked.topic, stretches)
    except MeshError as error:
        sys.stderr.write(f"{error.message}\n" + (f"{error.remedy}\n" if error.remedy else ""))
        return EXIT_REFUSED
    sys.stdout.write(f"done: start {group} again, it reads {count} records once more\n")
    return 0


class Replay:
    """One group of one cluster, seen by somebody who is no member of it."""

    def __init__(
        self, kafka: KafkaSettings, group: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._group = group
        self._now = now
        self._admin = AIOKafkaAdminClient(**client_options(kafka), request_timeout_ms=REQUEST_TIMEOUT_MS)
        self._consumer = AIOKafkaConsumer(
            **client_options(kafka), group_id=group, enable_auto_commit=False, request_timeout_ms=REQUEST_TIMEOUT_MS
        )

    async def __aenter__(self) -> Replay:
        try:
            await self._admin.start()
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self.__aexit__()
            raise Unavailable(f"Apache Kafka does not answer: {error}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def check_stopped(self) -> None:
        """Raises Conflict while the group has members."""
        for response in await self._admin.describe_consumer_groups([self._group]):
            for _, _, state, _, _, members, *_ in response.groups:
                if members:
                    hosts = sorted({f"{client}{host}" for _, client, host, *_ in members})
                    raise Conflict(
                        f"group {self._group} is running ({state}, {len(members)} members: "
                        f"{', '.join(hosts[:MEMBERS_SHOWN_MAX])}); nothing was changed",
                        code="group-running",
                        remedy="Stop every consumer role of the service (a killed one leaves after 10 s), then repeat.",
                    )

    async def plan(self, topic: str, start: Start) -> list[Stretch]:
        """What each partition would read again. Raises InvalidInput for a topic or partition that is not there."""
        described = await self._admin.describe_topics([topic])
        there = {each["partition"] for found in described for each in found["partitions"]}
        wanted = there if start.partition is None else there & {start.partition}
        if not wanted:
            raise InvalidInput(
                f"the cluster has no {topic}" + ("" if start.partition is None else f"/{start.partition}")
            )
        places = [TopicPartition(topic, partition) for partition in sorted(wanted)]
        self._consumer.assign(places)
        firsts = await self._consumer.beginning_offsets(places)
        ends = await self._consumer.end_offsets(places)
        floors = await self._at(places, self._now() - KEEP, ends)
        asked = firsts if start.time is None else await self._at(places, start.time, ends)
        stretches = []
        for place in places:
            begin = asked[place] if start.offset is None else start.offset
            kept = max(begin, firsts[place])
            stretches.append(
                Stretch(
                    partition=place.partition,
                    begin=max(kept, floors[place]),
                    committed=await self._consumer.committed(place),
                    end=ends[place],
                    gone=kept - begin,
                    forgotten=max(floors[place] - kept, 0),
                )
            )
        return stretches

    async def carry_out(self, topic: str, stretches: Sequence[Stretch]) -> None:
        """Moves the group back. Raises Conflict when it was started meanwhile: the broker refuses then."""
        offsets = {TopicPartition(topic, each.partition): each.begin for each in stretches if each.count}
        try:
            await self._consumer.commit(offsets)
        except KafkaError as error:
            raise Conflict(
                f"the broker refused the offsets of group {self._group}: {error}",
                code="group-running",
                remedy="Stop every consumer role of the service, then repeat.",
            ) from error

    async def _at(
        self, places: Sequence[TopicPartition], time: datetime, ends: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """The first offset at or after the time; the end where nothing is that new."""
        milliseconds = int(time.timestamp() * 1000)
        found = await self._consumer.offsets_for_times(dict.fromkeys(places, milliseconds))
        return {place: found[place].offset if found.get(place) else ends[place] for place in places}


def _parse(argv: Sequence[str], topics: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="replay", description="Let this service's stopped consumer read a topic again."
    )
    parser.add_argument("topic", choices=sorted(topics), metavar="TOPIC", help=f"one of {', '.join(sorted(topics))}")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--from-offset", type=int, metavar="N", help="of one --partition")
    start.add_argument("--from-time", type=_time, metavar="TIME", help="ISO 8601 with a zone, as 2026-11-28T09:00Z")
    start.add_argument("--from-beginning", action="store_true", help="whatever the topic still holds")
    parser.add_argument("--partition", type=int, metavar="P", help="only this one (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be read again")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    asked = parser.parse_args(argv)
    if asked.from_offset is not None and (asked.partition is None or asked.from_offset < 0):
        parser.error("--from-offset needs a --partition, and is not negative")
    return asked


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no zone; write Z or +01:00 behind it")
    return time


def _show(topic: str, group: str, stretches: Sequence[Stretch]) -> int:
    for each in stretches:
        line = f"{topic}/{each.partition}: "
        if each.count:
            line += f"{each.count} records again, from {each.begin} (now at {each.committed}, end {each.end})"
        else:
            line += f"nothing again (at {each.committed or 0}, end {each.end})"
        line += f"; {each.gone} records asked for are gone from the topic" if each.gone else ""
        line += f"; {each.forgotten} left out, older than the inbox remembers" if each.forgotten else ""
        sys.stdout.write(f"{line}\n")
    count = sum(each.count for each in stretches)
    sys.stdout.write(f"{group}: {count} records; those its database knows are dropped, the others are handled\n")
    return count


def _confirmed(group: str) -> bool:
    if not sys.stdin.isatty():
        sys.stderr.write("say --yes: there is nobody to ask\n")
        return False
    sys.stdout.write(f"Move {group} back? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
