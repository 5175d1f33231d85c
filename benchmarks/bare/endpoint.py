"""What answers `$batch` in the bare pipeline: says yes to everything and remembers nothing.

python -m bare.endpoint     over HTTP on a free port of loopback, one process; ends with its standard input
"""

import asyncio
import sys
import uuid
from typing import Any

import orjson
import uvicorn
import uvloop

HEADERS = [(b"content-type", b"application/json")]


async def app(_scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI; only HTTP is asked for."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answers = [_answer(item) for item in orjson.loads(body)["requests"]]
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": orjson.dumps({"responses": answers})})


def _answer(item: dict[str, Any]) -> dict[str, Any]:
    if item["method"] == "GET":
        return {"id": item["id"], "status": 200, "body": {"value": []}}
    if item["url"] == "/users":
        return {"id": item["id"], "status": 201, "body": {**item["body"], "id": str(uuid.uuid4())}}
    return {"id": item["id"], "status": 204}


async def serve() -> None:
    """Say the port it answers on; end with standard input."""
    config = uvicorn.Config(app, "127.0.0.1", 0, log_level="error", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # uvicorn has no event for it
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    uvloop.run(serve())
