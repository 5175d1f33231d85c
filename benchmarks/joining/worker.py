"""A process of a benchmark that is spoken to in lines: its task first, then whatever both sides agreed on.

Owns starting, talking and ending. Refuses to know what the lines mean.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 64 * 1024 * 1024
SECONDS_MAX = 900.0
FOLDER = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Worker:
    """A running `python -m MODULE`. What it writes to standard error is seen by whoever runs the benchmark."""

    module: str
    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, module: str, task: Mapping[str, Any]) -> "Worker":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=FOLDER,
            limit=LINE_BYTES_MAX,
        )
        worker = cls(module, process)
        await worker.tell(json.dumps(task))
        return worker

    async def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def line(self) -> str:
        """The next line it says. RuntimeError when it ends before, TimeoutError after SECONDS_MAX."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            line = (await self.process.stdout.readline()).decode().strip()
        if not line:
            raise RuntimeError(f"{self.module} ended before its work was done")
        return line

    async def says(self, word: str) -> None:
        line = await self.line()
        if line != word:
            raise RuntimeError(f"{self.module} said {line} in place of {word}")

    async def left(self) -> None:
        """Close its standard input and wait until it is gone."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(SECONDS_MAX):
            await self.process.wait()

    async def end(self) -> None:
        """At once, whatever it does."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
