"""What a server has acknowledged of one source, in a file of this side: one for each server, collection and source.

Its rows may say less than the server holds, never more. Before a batch is sent, each of its items is committed as SENT,
which takes back what was claimed of it; only with the answer does it become STORED again. So whenever the process dies,
an item whose answer did not arrive is sent once more, and what the server may hold of this source is known: that is
what can be removed from it when it is gone from the source.

The file lies on this machine, since a source may be read-only or shared. It may be deleted: then everything is sent
again, the server finds it unchanged, and only what was removed from the source in the meantime is not known any more.
"""

import fcntl
import hashlib
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self

from clipsearch.errors import ConfigError

FORMAT_VERSION = 1

COMMIT_EVERY = 2_000
"""Items seen that are noted together; what is sent is committed at once."""

_SCHEMA = f"""
CREATE TABLE about (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE items (
    id TEXT PRIMARY KEY,
    status INTEGER NOT NULL,
    run INTEGER NOT NULL,
    stamp TEXT,
    content BLOB,
    description BLOB,
    seq INTEGER
) STRICT, WITHOUT ROWID;
PRAGMA user_version = {FORMAT_VERSION};
"""


class Status(IntEnum):
    """What is known of an item: it was met in the source, it was sent, the server said that it has it."""

    SEEN = 0
    SENT = 1
    STORED = 2


@dataclass(frozen=True, slots=True)
class Key:
    """Whose state it is: the server's address, the collection's name, the source's absolute path."""

    server: str
    collection: str
    source: str

    @property
    def file_name(self) -> str:
        """A readable name, made unique by a hash."""
        digest = hashlib.sha256("\0".join((self.server, self.collection, self.source)).encode(errors="surrogateescape"))
        readable = re.sub(r"[^a-z0-9]+", "-", f"{self.collection}-{Path(self.source).name}".lower()).strip("-")
        return f"{readable[:60]}-{digest.hexdigest()[:16]}.sqlite"


@dataclass(frozen=True, slots=True)
class Entry:
    """One item: ``content`` and ``description`` are digests of what is STORED, ``stamp`` as of its record."""

    status: Status
    run: int
    stamp: str | None
    content: bytes | None
    description: bytes | None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the server acknowledged about an item; ``seq`` is the sequence number that the item has there."""

    id: str
    stamp: str | None
    content: bytes
    description: bytes
    seq: int


class State:
    """The state of one source. A context manager; one process at a time. For one thread."""

    def __init__(self, directory: Path, key: Key, *, dry: bool = False) -> None:
        """Open or make the file in ``directory``. With ``dry``, on a copy that goes when it is closed.

        Raises ConfigError where another process holds it, or where it is of another version.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / key.file_name
        self._key = key
        self._lock = self.path.with_suffix(".lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise ConfigError(f"{key.source} is being ingested by another process ({self.path} is locked)") from error
        try:
            self._db = self._opened(dry)
        except BaseException:
            self._lock.close()
            raise
        self.run = 1 + int(self.about("run") or 0)
        self._pending = 0
        self._note("run", self.run)
        self._db.commit()

    def _opened(self, dry: bool) -> sqlite3.Connection:
        # An empty name: a private database that goes to disk as it grows, and away when it is closed.
        db = sqlite3.connect("" if dry else self.path)
        try:
            if dry and self.path.exists():
                with closing(sqlite3.connect(self.path)) as kept:
                    kept.backup(db)
            db.execute("PRAGMA journal_mode = WAL")
            # A power cut may lose the last commits, which only makes it say less.
            db.execute("PRAGMA synchronous = NORMAL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
                about = {"server": self._key.server, "collection": self._key.collection, "source": self._key.source}
                db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            elif version != FORMAT_VERSION:
                raise ConfigError(f"{self.path} is of version {version}, this release has {FORMAT_VERSION}; delete it")
        except BaseException:
            db.close()
            raise
        return db

    def about(self, key: str) -> str | int | None:
        """Return what is noted under a key: ``identity``, ``model`` or ``seq``, the last state known to be the same."""
        found: tuple[str | int] | None = self._db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return None if found is None else found[0]

    def agree(self, identity: str, model: str, seq: int) -> None:
        """Note which collection, with which model, at which sequence number holds all that is STORED here."""
        for key, value in (("identity", identity), ("model", model), ("seq", seq)):
            self._note(key, value)
        self._db.commit()

    def _note(self, key: str, value: str | int) -> None:
        self._db.execute(
            "INSERT INTO about VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value)
        )

    def find(self, item_id: str) -> Entry | None:
        """Return what is known of an item."""
        found = self._db.execute(
            "SELECT status, run, stamp, content, description FROM items WHERE id = ?", (item_id,)
        ).fetchone()
        return None if found is None else Entry(Status(found[0]), *found[1:])

    def see(self, item_id: str) -> None:
        """Note that this run has met an item in the source."""
        self._db.execute(
            "INSERT INTO items (id, status, run) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET run = excluded.run",
            (item_id, Status.SEEN, self.run),
        )
        self._pending += 1
        if self._pending >= COMMIT_EVERY:
            self.commit()

    def restamp(self, item_id: str, stamp: str | None) -> None:
        """Note another stamp of an item whose content turned out to be the same."""
        self._db.execute("UPDATE items SET stamp = ? WHERE id = ?", (stamp, item_id))

    def sending(self, ids: Iterable[str]) -> None:
        """Take back what is claimed of items that are about to be sent; durable when this returns."""
        # One that was sent before may be there, though nothing was answered: then ``refused`` must not forget it.
        self._db.executemany(
            f"UPDATE items SET seq = iif(status >= {Status.SENT:d}, coalesce(seq, 0), NULL), status = {Status.SENT:d}, "
            "content = NULL, description = NULL, stamp = NULL WHERE id = ?",
            [(item_id,) for item_id in ids],
        )
        self.commit()

    def stored(self, items: Sequence[Acknowledged]) -> None:
        """Note what the server has acknowledged."""
        self._db.executemany(
            "UPDATE items SET status = ?, stamp = ?, content = ?, description = ?, seq = ? WHERE id = ?",
            [(Status.STORED, one.stamp, one.content, one.description, one.seq, one.id) for one in items],
        )
        self.commit()

    def refused(self, ids: Iterable[str]) -> None:
        """Note items that the server refused, and never had: there is nothing of them to remove."""
        self._db.executemany(
            "UPDATE items SET status = ? WHERE id = ? AND seq IS NULL", [(Status.SEEN, item_id) for item_id in ids]
        )
        self.commit()

    def removed(self, ids: Iterable[str]) -> None:
        """Forget items that the server has deleted."""
        self._db.executemany("DELETE FROM items WHERE id = ?", [(item_id,) for item_id in ids])
        self.commit()

    def commit(self) -> None:
        """Make everything noted so far durable."""
        self._db.commit()
        self._pending = 0

    def held(self) -> int:
        """Return how many items of this source the server has, or may have."""
        (count,) = self._db.execute("SELECT count(*) FROM items WHERE status >= ?", (Status.SENT,)).fetchone()
        return int(count)

    def stored_items(self) -> int:
        """Return how many items are STORED."""
        (count,) = self._db.execute("SELECT count(*) FROM items WHERE status = ?", (Status.STORED,)).fetchone()
        return int(count)

    def gone_items(self) -> int:
        """Return how many of those this run has not met."""
        sql = "SELECT count(*) FROM items WHERE status >= ? AND run < ?"
        return int(self._db.execute(sql, (Status.SENT, self.run)).fetchone()[0])

    def gone(self, limit: int, after: str = "") -> list[str]:
        """Return the next of them by id."""
        sql = "SELECT id FROM items WHERE status >= ? AND run < ? AND id > ? ORDER BY id LIMIT ?"
        return [item_id for (item_id,) in self._db.execute(sql, (Status.SENT, self.run, after, limit))]

    def below(self, path: str) -> list[str]:
        """Return the ids that the server may have which are a path, or lie below it."""
        sql = "SELECT id FROM items WHERE status >= ? AND (id = ? OR (id >= ? AND id < ?)) ORDER BY id"
        return [row[0] for row in self._db.execute(sql, (Status.SENT, path, f"{path}/", f"{path}0"))]

    def next_run(self) -> None:
        """Begin another run: nothing has been met yet."""
        self.run += 1
        self._note("run", self.run)
        self.commit()

    def forget(self) -> None:
        """Forget every item: the collection that they were in is gone."""
        self._db.execute("DELETE FROM items")
        self.commit()

    def believe_only(self, listed: Iterable[tuple[str, int]]) -> int:
        """Take back what is claimed of items that the server does not list as they were; returns how many.

        ``listed`` are ids with their sequence numbers: an item with another one was written by somebody else.
        """
        self._db.execute("CREATE TEMP TABLE listed (id TEXT, seq INTEGER, PRIMARY KEY (id, seq)) WITHOUT ROWID")
        self._db.executemany("INSERT OR IGNORE INTO listed VALUES (?, ?)", listed)
        count = self._db.execute(
            "UPDATE items SET status = ?, content = NULL, description = NULL, stamp = NULL WHERE status = ? "
            "AND NOT EXISTS (SELECT 1 FROM listed WHERE listed.id = items.id AND listed.seq = items.seq)",
            (Status.SENT, Status.STORED),
        ).rowcount
        self._db.execute("DROP TABLE listed")
        self.commit()
        return count

    def others(self) -> Iterator["OtherState"]:
        """Yield the states of other sources that go into the same collection."""
        for path in sorted(self.path.parent.glob("*.sqlite")):
            if path != self.path:
                with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
                    if db.execute("PRAGMA user_version").fetchone() != (FORMAT_VERSION,):
                        continue  # being made just now, or another release's
                    about = dict(db.execute("SELECT key, value FROM about"))
                    if (about["server"], about["collection"]) == (self._key.server, self._key.collection):
                        yield OtherState(about["source"], db)

    def close(self) -> None:
        """Commit and let the next process in."""
        self._db.commit()
        self._db.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class OtherState:
    """What another source has put into the same collection."""

    source: str
    _db: sqlite3.Connection

    def holds(self, ids: Sequence[str]) -> set[str]:
        """Return those of ``ids`` that the server has, or may have, of this source as well."""
        sql = f"SELECT id FROM items WHERE status >= ? AND id IN ({', '.join('?' * len(ids))})"
        return {item_id for (item_id,) in self._db.execute(sql, (Status.SENT, *ids))}
