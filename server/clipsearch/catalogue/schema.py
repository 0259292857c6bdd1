"""The catalogue's tables, and opening the file that holds them.

``items`` is append-only: a row's content never changes after its commit, but for ``deleted_seq``, which is set once
when the row is replaced or deleted. An id has at most one live row (``deleted_seq`` null) and any number of dead ones.
The index ``deaths`` holds row numbers alone, a few bytes each, and answers which rows live without reading embeddings;
``scan`` holds the metadata by row, for the same reason: filters read all of it, and none of the embeddings beside it.
``meta`` holds the dimension, the model's weight hash (absent where ready vectors were given), the identity, by which a
caller tells this collection from a later one of its name, the sequence number,
which every mutation that changes something raises by one, and the next row number: rows are never used again, so the
highest one that is there does not tell. ``requests`` remembers what was answered to mutations with a request id.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clipsearch.catalogue.failures import storage_errors
from clipsearch.errors import UnusableIndex

FILE = "catalogue.sqlite"
FORMAT_VERSION = 2

LIVE = "items INDEXED BY live WHERE deleted_seq IS NULL"
"""Where to look an item up by its id. Left to itself SQLite may take ``deaths``, and walk over all that lives."""

SCAN = "scan"

_CREATE_SCAN = f"CREATE INDEX IF NOT EXISTS {SCAN} ON items (row, metadata)"
"""Made whenever a file is opened to write that has none: files of the same format were written without it."""

MAX_ID_BYTES = 256
"""Longest item id in UTF-8."""

_CHECKPOINT_PAGES = 8192
"""Pages of the log after which it is folded into the file: 32 MiB, so that bulk writing folds pages once, not often."""

_SCHEMA = f"""
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE items (
    row INTEGER PRIMARY KEY CHECK (row >= 0),
    id TEXT NOT NULL CHECK (length(CAST(id AS BLOB)) BETWEEN 1 AND {MAX_ID_BYTES}),
    metadata TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
    uri TEXT,
    content_hash BLOB,
    embedding BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    deleted_seq INTEGER CHECK (deleted_seq > seq)
) STRICT;

CREATE UNIQUE INDEX live ON items (id) WHERE deleted_seq IS NULL;
CREATE INDEX deaths ON items (deleted_seq);

CREATE TABLE requests (
    number INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL,
    seq INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
"""


def catalogue_file(collection: Path) -> Path:
    """Return where the catalogue of a collection directory lies."""
    return collection / FILE


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open the file to write, in autocommit mode, with its tables made.

    Raises UnusableIndex where it is foreign or damaged, StorageFull and StorageFailed where it cannot be used now.
    WAL and synchronous=FULL: a committed write survives power loss, and readers never wait for the writer. May be used
    from any thread but one at a time.
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
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            # DDL is transactional in SQLite, the version included: a crash leaves an empty file, not half a schema.
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT_VERSION}; COMMIT;")
        if connection.execute("PRAGMA user_version").fetchone()[0] == FORMAT_VERSION:
            connection.execute(_CREATE_SCAN)
    except BaseException:
        connection.close()
        raise
    return connection


def _checked(path: Path, opened: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    with storage_errors(path), _damage_refused(path):
        connection = opened()
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == FORMAT_VERSION:
                # Reads the schema and a table, which a file that was torn or cut off does not survive.
                connection.execute("SELECT count(*) FROM meta").fetchone()
        except BaseException:
            connection.close()
            raise
    if version != FORMAT_VERSION:
        connection.close()
        raise UnusableIndex(
            f"{path} has format version {version}, and this release reads version {FORMAT_VERSION} only; "
            "move it away and make it anew with `clipsearch index build`"
        )
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


@contextmanager
def _damage_refused(path: Path) -> Iterator[None]:
    """Tell a file that is damaged or foreign from one that cannot be used now: only the first is to be replaced."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # The low byte is the kind of error, the rest a detail of it.
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise
        raise UnusableIndex(
            f"{path} is not a catalogue that can be read ({error}); restore a backup or build it anew"
        ) from error
