"""The catalogue's tables, and opening the file that holds them.

``items`` is append-only by row: rows are dense from 0, and a row number is what the index knows an item by.
``meta`` holds the dimension, the model's weight hash (absent where ready vectors were given) and the sequence number,
which every committed write raises by one.
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from clipsearch.errors import UnusableIndex

FILE = "catalogue.sqlite"
FORMAT_VERSION = 1

MAX_ID_BYTES = 256
"""Longest item id in UTF-8."""

_SCHEMA = f"""
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE items (
    row INTEGER PRIMARY KEY CHECK (row >= 0),
    id TEXT NOT NULL UNIQUE CHECK (length(CAST(id AS BLOB)) BETWEEN 1 AND {MAX_ID_BYTES}),
    metadata TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
    uri TEXT,
    content_hash BLOB,
    embedding BLOB NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
"""


def catalogue_file(collection: Path) -> Path:
    """Return where the catalogue of a collection directory lies."""
    return collection / FILE


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open the file to write, in autocommit mode, with its tables made; raises UnusableIndex where it is foreign.

    WAL and synchronous=FULL: a committed write survives power loss, and readers never wait for the writer.
    """
    return _checked(path, lambda: _prepare(path))


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open the file to read, from any thread but one at a time; raises UnusableIndex where it is missing or foreign."""
    if not path.is_file():
        raise UnusableIndex(f"{path} is missing; make it with `clipsearch index build`")
    # SQLite keeps shared memory beside a WAL file, which it cannot on a read-only mount. Nobody can be writing there
    # either, so a file without a log is safe to read as immutable.
    frozen = not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if frozen else "")
    return _checked(path, lambda: sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False))


def _prepare(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
        # DDL is transactional in SQLite, the version included: a crash leaves an empty file, not half a schema.
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT_VERSION}; COMMIT;")
    return connection


def _checked(path: Path, opened: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    try:
        connection = opened()
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise UnusableIndex(f"{path} is not a catalogue that can be read ({error})") from error
    if version != FORMAT_VERSION:
        connection.close()
        raise UnusableIndex(
            f"{path} has format version {version}, and this release reads version {FORMAT_VERSION} only"
        )
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection
