"""`python -m mesh_messaging.topics`: make the brokers hold what a file declares and show each change; set passwords.

The brokers and the administrator's credentials come from TOPICS_KAFKA_*, as those of a service do. Exit codes: 0 done
or nothing to do, 1 refused or not reached, 2 the command line, the file or the environment is wrong.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from pydantic_settings import SettingsConfigDict

from mesh_messaging.kafka import KafkaSettings
from mesh_messaging.topics import Cluster, compare, load
from mesh_runtime.errors import InvalidInput, MeshError
from mesh_runtime.settings import BrokerSettings, SettingsError, load_settings

NO_AUTHORIZER = "the brokers check no rights (no authorizer): none were compared"


Command = Callable[[KafkaSettings, argparse.Namespace], Coroutine[Any, Any, int]]


class TopicsSettings(BrokerSettings):
    """Brokers and credentials of whoever applies the file."""

    model_config = SettingsConfigDict(env_prefix="TOPICS_")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        kafka = KafkaSettings.from_service(load_settings(TopicsSettings), "topics")
        command: Command = arguments.command
        return asyncio.run(command(kafka, arguments))
    except (InvalidInput, SettingsError) as error:
        _complain(str(error))
        return 2
    except MeshError as error:
        _complain(error.message, error.remedy)
        return 1


async def _apply(kafka: KafkaSettings, arguments: argparse.Namespace) -> int:
    declaration = load(arguments.file)
    if arguments.replication:
        declaration = declaration.with_replication(arguments.replication)
    async with Cluster(kafka) as cluster:
        state = await cluster.read()
        comparison = compare(declaration, state, prune=arguments.prune)
        for change in comparison.changes:
            _say(str(change))
        for change in comparison.kept:
            _say(f"  kept, only --prune removes it: {change}")
        if state.rights is None and declaration.rights:
            _say(f"  {NO_AUTHORIZER}")
        if comparison.refusals:
            _complain("nothing was changed:", *comparison.refusals)
            return 1
        if arguments.dry_run:
            _say(f"{len(comparison.changes)} changes to make; nothing was changed")
            return 0
        await cluster.carry_out(comparison.changes)
    _say(f"{len(comparison.changes)} changes made" if comparison.changes else "nothing to change")
    return 0


async def _set_passwords(kafka: KafkaSettings, arguments: argparse.Namespace) -> int:
    files = sorted(file for file in arguments.folder.glob("[!.]*") if file.is_file())
    if not files:
        raise InvalidInput(f"{arguments.folder} holds no password files", code="no-passwords")
    async with Cluster(kafka) as cluster:
        for file in files:
            await cluster.set_password(file.name, file.read_text().strip())
            _say(f"password of {file.name} set")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mesh_messaging.topics", description=__doc__)
    commands = parser.add_subparsers(required=True)
    apply = commands.add_parser("apply", help="make the brokers hold what FILE declares")
    apply.set_defaults(command=_apply)
    apply.add_argument("file", type=Path, metavar="FILE")
    apply.add_argument("--dry-run", action="store_true", help="only show what would change")
    apply.add_argument("--prune", action="store_true", help="also remove topics, settings and rights not declared")
    apply.add_argument("--replication", type=int, metavar="N", help="copies of each topic instead of the file's")
    passwords = commands.add_parser("set-passwords", help="set the password of every user FOLDER has a file of")
    passwords.set_defaults(command=_set_passwords)
    passwords.add_argument("folder", type=Path, metavar="FOLDER")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _complain(*lines: str | None) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines if line))


if __name__ == "__main__":
    sys.exit(main())
