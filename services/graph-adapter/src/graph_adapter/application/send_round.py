"""The requests of many operations travel together: up to 20 in one call, several calls at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from graph_adapter.domain.credential import Token
from graph_adapter.domain.packing import packs
from graph_adapter.domain.ports import Graph
from graph_adapter.domain.progress import Answer, Progress, Request
from mesh_runtime import faults

BEFORE_SEND = faults.declare("graph.before_send", "checkpoints are durable, the requests of the round are not sent yet")
ANSWERED = faults.declare("graph.answered", "Microsoft Graph has carried requests out, the answers are only in memory")

Asked = tuple[Progress, Sequence[Request]]


async def send_round(
    graph: Graph, token: Token, asked: Sequence[Asked], batches_max: int
) -> list[tuple[Progress, Mapping[str, Answer]]]:
    """Sends everything and answers per operation, by slot. At most `batches_max` calls are under way at a time."""
    flat = [request for _, requests in asked for request in requests]
    gate = asyncio.Semaphore(batches_max)

    async def send(pack: Sequence[Request]) -> Sequence[Answer]:
        async with gate:
            return await graph.batch(token.graph_url, token.value, pack)

    faults.fault_point(BEFORE_SEND)
    answers = iter([answer for part in await asyncio.gather(*map(send, packs(flat))) for answer in part])
    faults.fault_point(ANSWERED)
    return [(progress, {request.slot: next(answers) for request in requests}) for progress, requests in asked]
