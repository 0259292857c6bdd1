"""What it takes for a file to survive power loss, and which paths callers may name."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipsearch.errors import PathNotAllowed, StorageFailed, StorageFull

MAX_NAME_BYTES = 200
"""Longest name of a file or directory that a caller may give: below the systems' 255, to leave room for a suffix."""


def flush(path: Path) -> None:
    """Flush a file's content, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def appearing(final: Path) -> Iterator[Path]:
    """Give a free name for a file or directory, which is ``final`` once it is whole and flushed; directories are made.

    It is gone again where something is raised, and a file that ``final`` was until then stays as it was.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that nobody takes it for something whole; a crash leaves it, and it may be deleted then.
    unfinished = final.with_name(f".{final.name}.{uuid.uuid4().hex[:12]}")
    try:
        yield unfinished
        flush(unfinished)
        unfinished.replace(final)
    except BaseException:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)
        raise
    flush(final.parent)


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Raise an OSError from inside as StorageFull or StorageFailed, saying ``what`` could not be done.

    Without the path: these messages reach remote callers.
    """
    try:
        yield
    except OSError as error:
        kind = StorageFull if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} else StorageFailed
        raise kind(f"{what} failed: {error.strerror}") from error


def inside(root: Path, given: str, field: str) -> Path:
    """Return the path below ``root`` that a caller means by ``given``, links followed.

    Raises PathNotAllowed, naming the request's ``field``, unless it is relative, without hidden names (``..`` looks
    like one), and stays below ``root`` when links are followed.
    """
    names = given.removesuffix("/").split("/")
    plain = given.isprintable() and all(
        name and not name.startswith(".") and len(name.encode()) <= MAX_NAME_BYTES for name in names
    )
    real_root = Path(os.path.realpath(root))
    # Not Path.resolve, which raises on links that lead in a circle.
    path = Path(os.path.realpath(real_root / given)) if plain else real_root
    if path == real_root or not path.is_relative_to(real_root):
        raise PathNotAllowed(
            "the path must be relative, without hidden names, and stay inside the server's directory", field=field
        )
    return path


def bytes_under(directory: Path) -> int:
    """Return the size of all files under a directory; those that go away meanwhile do not count."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).stat().st_size
    return total
