"""What SQLite reports, as errors that callers can act on."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipsearch.errors import ClipsearchError, StorageFailed, StorageFull

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
"""SQLite says FULL for a full disk alone. A quota or a limit on file sizes makes write(2) fail in other ways, which it
reports as IOERR_WRITE; a disk that breaks rather fails to read or to flush, because writes only reach its cache."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise what SQLite raises inside as StorageFull or StorageFailed, naming the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise _typed(path.name, error) from error


def _typed(name: str, error: sqlite3.Error) -> ClipsearchError:
    # The file's name without its directory: these messages reach remote callers.
    if getattr(error, "sqlite_errorcode", None) in _NO_ROOM:
        return StorageFull(f"there is no room to write {name} ({error}); nothing was stored")
    # The sqlite3 module's own complaints carry no name.
    return StorageFailed(f"{name} failed: {error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})")
