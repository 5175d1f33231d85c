"""The bare orchestrator: HR facts become plans, replies make the next steps ready, an outbox carries them to Kafka.

    python -m bare.orchestrator     the task as one JSON line on standard input; bare/run.py holds the other end

Each statement works on arrays, each poll of Kafka is one transaction, the relay is woken by the commit. Left out:
rules, validation, leases, deadlines, tracing, authentication, proof of the result.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
import uuid_utils
import uvloop

from bare import steps
from bare.process import POLL_SECONDS, RECORDS_MAX, SEND_MAX, Connections, Task, connected, wait

SCHEMA = """
CREATE TABLE plan (plan_id uuid PRIMARY KEY, person bytea NOT NULL, done smallint NOT NULL DEFAULT 0, user_id text);
CREATE TABLE operation (plan_id uuid, step smallint, state smallint NOT NULL DEFAULT 0, PRIMARY KEY (plan_id, step));
CREATE TABLE outbox (seq bigserial PRIMARY KEY, key text NOT NULL, value bytea NOT NULL);
"""

ADD_PLANS = "INSERT INTO plan (plan_id, person) SELECT * FROM unnest($1::uuid[], $2::bytea[])"
ADD_OPERATIONS = """
INSERT INTO operation (plan_id, step, state)
SELECT plan_id, step, CASE step WHEN 0 THEN 1 ELSE 0 END
FROM unnest($1::uuid[]) AS plan_id, generate_series(0, $2) AS step
"""
ADD_OUTBOX = "INSERT INTO outbox (key, value) SELECT * FROM unnest($1::text[], $2::bytea[])"
TAKE_OUTBOX = "SELECT seq, key, value FROM outbox ORDER BY seq LIMIT $1"
CLEAR_OUTBOX = "DELETE FROM outbox WHERE seq = ANY($1)"
END_OPERATIONS = """
UPDATE operation AS o SET state = 2 FROM unnest($1::uuid[], $2::smallint[]) AS r (plan_id, step)
WHERE o.plan_id = r.plan_id AND o.step = r.step AND o.state <> 2 RETURNING o.plan_id, o.step
"""
COUNT_DONE = """
UPDATE plan AS p SET done = p.done + r.count, user_id = coalesce(p.user_id, r.user_id)
FROM unnest($1::uuid[], $2::smallint[], $3::text[]) AS r (plan_id, count, user_id)
WHERE p.plan_id = r.plan_id RETURNING p.plan_id, p.done - r.count AS before, p.done, p.user_id, p.person
"""
BEGIN_OPERATIONS = """
UPDATE operation AS o SET state = 1 FROM unnest($1::uuid[], $2::smallint[]) AS r (plan_id, step)
WHERE o.plan_id = r.plan_id AND o.step = r.step
"""


class Orchestrator:
    """One process, one event loop, three loops in it."""

    def __init__(self, task: Task, own: Connections) -> None:
        self._task, self._pool, self._consumer, self._producer = task, own.pool, own.consumer, own.producer
        self._wake = asyncio.Event()
        self._finished = 0
        self._progress = asyncio.Condition()

    async def intake(self, people: Sequence[dict[str, Any]]) -> None:
        """Durable when it returns."""
        ids = [str(uuid_utils.uuid7()) for _ in people]
        commands = [_command(plan_id, steps.OBSERVE, person, None) for plan_id, person in zip(ids, people, strict=True)]
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(ADD_PLANS, ids, [orjson.dumps(person) for person in people])
            await connection.execute(ADD_OPERATIONS, ids, steps.COUNT - 1)
            await connection.execute(ADD_OUTBOX, ids, commands)
        self._wake.set()

    async def finish(self, count: int) -> None:
        """Until `count` plans have ended since the start."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._finished >= count)

    async def take_replies(self) -> None:
        while True:
            polled = await self._consumer.getmany(timeout_ms=1_000, max_records=RECORDS_MAX)
            replies = [orjson.loads(record.value) for records in polled.values() for record in records]
            if not replies:
                continue
            finished = await self._take(replies)
            self._wake.set()
            await self._consumer.commit()
            async with self._progress:
                self._finished += finished
                self._progress.notify_all()

    async def _take(self, replies: Sequence[dict[str, Any]]) -> int:
        """One transaction; how many plans ended in it. A reply that comes again changes nothing."""
        users = {reply["plan_id"]: reply["user_id"] for reply in replies if reply["user_id"]}
        async with self._pool.acquire() as connection, connection.transaction():
            plan_ids, numbers = [reply["plan_id"] for reply in replies], [reply["step"] for reply in replies]
            ended = await connection.fetch(END_OPERATIONS, plan_ids, numbers)
            counts = Counter(str(row["plan_id"]) for row in ended)
            ids = list(counts)
            plans = await connection.fetch(COUNT_DONE, ids, list(counts.values()), [users.get(each) for each in ids])
            ready = [(plan, step) for plan in plans for step in steps.newly_ready(plan["before"], plan["done"])]
            if ready:
                keys = [str(plan["plan_id"]) for plan, _ in ready]
                await connection.execute(BEGIN_OPERATIONS, keys, [step for _, step in ready])
                people = {plan["plan_id"]: orjson.loads(plan["person"]) for plan in plans}
                values = [
                    _command(key, step, people[plan["plan_id"]], plan["user_id"])
                    for key, (plan, step) in zip(keys, ready, strict=True)
                ]
                await connection.execute(ADD_OUTBOX, keys, values)
        return sum(plan["done"] == steps.COUNT for plan in plans)

    async def relay(self) -> None:
        async with self._pool.acquire() as connection:
            while True:
                rows = await connection.fetch(TAKE_OUTBOX, SEND_MAX)
                if not rows:
                    await wait(self._wake, POLL_SECONDS)
                    continue
                sent = [
                    await self._producer.send(self._task.commands, row["value"], key=row["key"].encode())
                    for row in rows
                ]
                await asyncio.gather(*sent)
                await connection.execute(CLEAR_OUTBOX, [row["seq"] for row in rows])


def _command(plan_id: str, step: int, person: dict[str, Any], user_id: str | None) -> bytes:
    return orjson.dumps({"plan_id": plan_id, "step": step, "request": steps.request(step, person, user_id)})


async def work(task: Task) -> None:
    """Say "ready"; then for each line of people take them in; for a line with a number say when so many have ended."""
    own = connected(task, "bare-orchestrator", task.replies, schema=SCHEMA, pool_size=3)
    async with own as connections, asyncio.TaskGroup() as group:
        orchestrator = Orchestrator(task, connections)
        loops = [group.create_task(each) for each in (orchestrator.take_replies(), orchestrator.relay())]
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            wanted = orjson.loads(line)
            if isinstance(wanted, int):
                await orchestrator.finish(wanted)
                print(orjson.dumps({"ended": time.time()}).decode(), flush=True)
            else:
                await orchestrator.intake(wanted)
        for each in loops:
            each.cancel()


if __name__ == "__main__":
    uvloop.run(work(Task.read()))
