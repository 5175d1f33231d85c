"""What the parent tells a process of the bare pipeline in its first line."""

import sys
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Task:
    """Where the parts of the pipeline find each other."""

    database_url: str
    kafka: str
    commands: str
    replies: str
    endpoint: str

    @classmethod
    def read(cls) -> "Task":
        """From standard input."""
        return cls(**orjson.loads(sys.stdin.readline()))
