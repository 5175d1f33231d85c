"""The bare adapter: commands become rows, rows become `$batch` requests of twenty, answers become replies.

    python -m bare.adapter     the task as one JSON line on standard input; ends with it

One row is inbox, queue and outbox. Left out: templates, tokens, throttling, leases that expire, undo, reading back.
"""

import asyncio
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import httpx
import orjson
import uvloop

from bare.process import POLL_SECONDS, RECORDS_MAX, SEND_MAX, Connections, Task, connected, wait

SCHEMA = """
CREATE TABLE operation (
    plan_id uuid, step smallint, seq bigserial NOT NULL, request bytea, reply bytea, state smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (plan_id, step)
);
CREATE INDEX operation_queued ON operation (seq) WHERE state = 0;
CREATE INDEX operation_answered ON operation (seq) WHERE state = 2;
"""
ADD = """
INSERT INTO operation (plan_id, step, request) SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::bytea[])
ON CONFLICT DO NOTHING
"""
LEASE = """
UPDATE operation SET state = 1 WHERE seq = ANY(ARRAY(
    SELECT seq FROM operation WHERE state = 0 ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED)) AND state = 0
RETURNING plan_id, step, request
"""
SETTLE = """
UPDATE operation AS o SET state = 2, reply = r.reply, request = NULL
FROM unnest($1::uuid[], $2::smallint[], $3::bytea[]) AS r (plan_id, step, reply)
WHERE o.plan_id = r.plan_id AND o.step = r.step
"""
TAKE = "SELECT plan_id, step, reply FROM operation WHERE state = 2 ORDER BY seq LIMIT $1"
SENT = """
UPDATE operation AS o SET state = 3 FROM unnest($1::uuid[], $2::smallint[]) AS r (plan_id, step)
WHERE o.plan_id = r.plan_id AND o.step = r.step
"""
WORKERS = 2
LEASE_MAX = 200
BATCH_MAX = 20


class Adapter:
    """One process, one event loop; the workers share the client's connections."""

    def __init__(self, task: Task, own: Connections) -> None:
        self._task, self._pool, self._consumer, self._producer = task, own.pool, own.consumer, own.producer
        self._http = httpx.AsyncClient(timeout=60, trust_env=False)
        self._queued, self._answered = asyncio.Event(), asyncio.Event()

    async def take_commands(self) -> None:
        while True:
            polled = await self._consumer.getmany(timeout_ms=1_000, max_records=RECORDS_MAX)
            commands = [orjson.loads(record.value) for records in polled.values() for record in records]
            if not commands:
                continue
            await self._pool.execute(
                ADD,
                [each["plan_id"] for each in commands],
                [each["step"] for each in commands],
                [orjson.dumps(each["request"]) for each in commands],
            )
            self._queued.set()
            await self._consumer.commit()

    async def run_operations(self) -> None:
        while True:
            rows = await self._pool.fetch(LEASE, LEASE_MAX)
            if not rows:
                await wait(self._queued, POLL_SECONDS)
                continue
            starts = range(0, len(rows), BATCH_MAX)
            answers = await asyncio.gather(*(self._batch(rows[start : start + BATCH_MAX]) for start in starts))
            replies = [
                orjson.dumps({"plan_id": str(row["plan_id"]), "step": row["step"], "user_id": _user_id(answer)})
                for row, answer in zip(rows, itertools.chain.from_iterable(answers), strict=True)
            ]
            keys = [row["plan_id"] for row in rows]
            await self._pool.execute(SETTLE, keys, [row["step"] for row in rows], replies)
            self._answered.set()

    async def _batch(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """The answers in the order of the rows."""
        items = [{"id": str(n), **orjson.loads(row["request"])} for n, row in enumerate(rows)]
        answer = await self._http.post(f"{self._task.endpoint}/v1.0/$batch", content=orjson.dumps({"requests": items}))
        found = {each["id"]: each for each in orjson.loads(answer.raise_for_status().content)["responses"]}
        return [found[item["id"]] for item in items]

    async def relay(self) -> None:
        while True:
            rows = await self._pool.fetch(TAKE, SEND_MAX)
            if not rows:
                await wait(self._answered, POLL_SECONDS)
                continue
            sent = [
                await self._producer.send(self._task.replies, row["reply"], key=str(row["plan_id"]).encode())
                for row in rows
            ]
            await asyncio.gather(*sent)
            await self._pool.execute(SENT, [row["plan_id"] for row in rows], [row["step"] for row in rows])


def _user_id(answer: dict[str, Any]) -> str | None:
    if answer["status"] >= 300:
        raise ValueError(f"the endpoint refused: {answer}")
    found: str | None = answer.get("body", {}).get("id")
    return found


async def work(task: Task) -> None:
    """Say "ready" and work until standard input ends."""
    own = connected(task, "bare-adapter", task.commands, schema=SCHEMA, pool_size=WORKERS + 2)
    async with own as connections, asyncio.TaskGroup() as group:
        adapter = Adapter(task, connections)
        workers = [adapter.run_operations() for _ in range(WORKERS)]
        loops = [group.create_task(each) for each in (adapter.take_commands(), adapter.relay(), *workers)]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for each in loops:
            each.cancel()


if __name__ == "__main__":
    uvloop.run(work(Task.read()))
