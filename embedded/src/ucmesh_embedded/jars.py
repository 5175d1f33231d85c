"""Apache Kafka's jars: had once per cache by their Maven coordinates, each checked against a committed SHA-256.

Owns: `jars.sha256` and the folder `maven/` of the cache. Refuses: a jar whose digest differs, whatever its source.
The list has Maven's repository layout, so `sha256sum -c jars.sha256` checks a cache by hand as well.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

import requests
from jgo.maven import MavenContext

from ucmesh_embedded.errors import StackError
from ucmesh_embedded.places import unwritable

DOWNLOADS_MAX = 8
TIMEOUT_SECONDS = 30
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of the list: `path` in Maven's repository layout and the SHA-256 it must have."""

    path: PurePosixPath
    sha256: str

    @property
    def coordinates(self) -> tuple[str, str, str]:
        """(group, artifact, version)"""
        *group, artifact, version, _name = self.path.parts
        return ".".join(group), artifact, version


def listed() -> tuple[Jar, ...]:
    text = resources.files("ucmesh_embedded").joinpath("jars.sha256").read_text()
    rows = (line.split() for line in text.splitlines() if line)
    return tuple(Jar(PurePosixPath(path), digest) for digest, path in rows)


def classpath(cache: Path, progress: Progress | None = None) -> list[Path]:
    """Every jar, downloaded if missing and checked. StackError when one differs or cannot be had."""
    folder = cache / "maven"
    jars = listed()
    missing = [jar for jar in jars if not _holds(folder / jar.path, jar)]
    if missing:
        _download(missing, folder, progress)
    return [folder / jar.path for jar in jars]


def _holds(file: Path, jar: Jar) -> bool:
    """Whether the file is there and right; a wrong one (a torn write, a tampered file) is removed."""
    try:
        if _digest(file) == jar.sha256:
            return True
        file.unlink()
    except FileNotFoundError:
        pass
    return False


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(missing: list[Jar], folder: Path, progress: Progress | None) -> None:
    """Into a folder of this process, then each renamed into place: two starts at once do not meet."""
    part = folder.with_name(f"maven.part-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        context = MavenContext(repo_cache=part, timeout=TIMEOUT_SECONDS)
        with ThreadPoolExecutor(DOWNLOADS_MAX) as pool:
            waiting = {pool.submit(_fetch, context, jar): jar for jar in missing}
            for done, future in enumerate(as_completed(waiting), start=1):
                jar = waiting[future]
                accept(future.result(), jar, folder / jar.path)
                if progress:
                    progress(done, len(missing))
    except requests.RequestException as error:
        raise StackError(
            "Apache Kafka's jars cannot be downloaded: Maven Central was not reached.",
            remedy="Check the network (a proxy is taken from HTTPS_PROXY), then run `./dev setup` again. "
            "What was downloaded so far is kept.",
        ) from error
    except OSError as error:
        raise unwritable(error, folder) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fetch(context: MavenContext, jar: Jar) -> Path:
    group, artifact, version = jar.coordinates
    try:
        return Path(context.project(group, artifact).at_version(version).artifact(packaging="jar").resolve())
    except RuntimeError as error:
        raise StackError(f"Maven Central does not serve {jar.path.name}: {error}") from error


def accept(file: Path, jar: Jar, place: Path) -> None:
    """Put a downloaded file into its place; StackError when its digest is not the committed one."""
    found = _digest(file)
    if found != jar.sha256:
        raise StackError(
            f"{jar.path.name} was refused: its SHA-256 is {found}, the committed one is {jar.sha256}.",
            remedy="Something between here and Maven Central changes files. Do not run it.",
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    file.replace(place)
