"""The ASGI application on the Microsoft port: sends each path to its face. Owns nothing else."""

from ucmesh_simulator.asgi import BodyTooLargeError, Receive, Scope, Send, send_json
from ucmesh_simulator.directory.http import PREFIX, GraphFace
from ucmesh_simulator.identity.http import LoginFace
from ucmesh_simulator.powershell.http import PowerShellFace
from ucmesh_simulator.world import World


class Faces:
    def __init__(self, world: World) -> None:
        self._graph = GraphFace(world)
        self._login = LoginFace(world)
        self._powershell = PowerShellFace(world)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive, send)
        except BodyTooLargeError:
            await send_json(
                send, 413, {"error": {"code": "RequestEntityTooLarge", "message": "The request is too large."}}
            )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(f"{PREFIX}/"):
            await self._graph(scope, receive, send)
            return
        segments = [piece for piece in path.split("/") if piece]
        if len(segments) == 3 and segments[0] == "powershell" and scope["method"] == "POST":
            await self._powershell(scope, receive, send, segments[1], segments[2])
            return
        if not await self._login(scope, receive, send, segments):
            await send_json(send, 404, {"error": {"code": "NotFound", "message": f"nothing is simulated under {path}"}})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
