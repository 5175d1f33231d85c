"""`python -m ucmesh_simulator.pwsh_host`: requests as lines on stdin, frames `\\x1e{json}\\n` on stdout. Owns the loop
only."""

import sys
import time
from typing import Any

import orjson

from ucmesh_simulator.pwsh_host.records import own
from ucmesh_simulator.pwsh_host.session import Session

LINE_BYTES_MAX = 8 * 1024 * 1024


def main() -> int:
    session = Session()
    while line := sys.stdin.buffer.readline(LINE_BYTES_MAX):
        if not line.strip():
            continue
        began = time.monotonic()
        request: dict[str, Any] = {}
        try:
            parsed = orjson.loads(line)
            request = parsed if isinstance(parsed, dict) else {}
            if request.get("op") == "exit":
                return 0
            reply = session.handle(request)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as wrong:
            reply = {"ok": False, "error": own(type(wrong).__name__, str(wrong), "NotSpecified").frame}
        reply["id"] = str(request.get("id", ""))
        reply["duration_ms"] = int((time.monotonic() - began) * 1000)
        sys.stdout.buffer.write(b"\x1e" + orjson.dumps(reply) + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
