"""Writing the catalogue: one writer per collection, one transaction per group of mutations, every commit durable."""

import json
import logging
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from clipsearch.catalogue.changes import Changes, NextNumbers
from clipsearch.catalogue.failures import storage_errors
from clipsearch.catalogue.items import CheckedItem, Item, Known, check_id, check_items, checksum
from clipsearch.catalogue.known import OF_THESE, SELECT_KNOWN, known_items
from clipsearch.catalogue.lock import take_lock
from clipsearch.catalogue.mutations import (
    Applied,
    Delete,
    Mutation,
    Outcome,
    Upsert,
    fingerprint,
    outcomes_from_json,
    outcomes_to_json,
)
from clipsearch.catalogue.schema import catalogue_file, connect_writer
from clipsearch.disk import flush
from clipsearch.errors import (
    BadItemId,
    ClipsearchError,
    InvalidInput,
    RequestIdReused,
    UnusableIndex,
)

logger = logging.getLogger(__name__)

REQUESTS_KEPT = 100_000
"""Request ids remembered, the newest ones: at a thousand mutations a second, those of the last 100 seconds."""

_INSERT = """
INSERT INTO items (row, id, metadata, uri, content_hash, embedding, checksum, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


class CatalogueWriter:
    """The one writer of a collection. Use as a context manager; from any thread, but one at a time."""

    def __init__(
        self,
        collection: Path,
        dimension: int,
        model_hash: str | None,
        *,
        joins_ready_vectors: bool = False,
        requests_kept: int = REQUESTS_KEPT,
    ) -> None:
        """Open or create the catalogue of a collection directory; one that was left half-made is made to the end.

        Raises UnusableIndex where another process writes it, where it cannot be read, or where it holds embeddings of
        another dimension or of another model: those would be compared with each other as if they meant the same. With
        ``joins_ready_vectors`` a catalogue of ready vectors, whose model nobody told, takes those of any model.
        """
        if not collection.is_dir():
            collection.mkdir(parents=True)
            # SQLite sees to the names inside; that of the directory itself is ours.
            flush(collection.parent)
        self.dimension = dimension
        self._requests_kept = requests_kept
        self._path = catalogue_file(collection)
        self._lock = take_lock(collection)
        try:
            self._connection = connect_writer(self._path)
        except BaseException:
            self._lock.close()
            raise
        try:
            with storage_errors(self._path):
                self._adopt(dimension, model_hash, joins_ready_vectors=joins_ready_vectors)
        except BaseException:
            self.close()
            raise

    def _adopt(self, dimension: int, model_hash: str | None, *, joins_ready_vectors: bool) -> None:
        """Note the model of a new catalogue, or compare it with that of an old one."""
        stored = dict(self._connection.execute("SELECT key, value FROM meta"))
        if not stored:
            first: list[tuple[str, int | str]] = [("dimension", dimension), ("seq", 0), ("next_row", 0), _identity()]
            if model_hash is not None:
                first.append(("model_hash", model_hash))
            with self._transaction():
                self._connection.executemany("INSERT INTO meta VALUES (?, ?)", first)
            return
        if stored["dimension"] != dimension:
            raise UnusableIndex(
                f"{self._path} holds embeddings of dimension {stored['dimension']}, these have {dimension}; "
                "build into another directory"
            )
        known = stored.get("model_hash")
        if known != model_hash and not (known is None and joins_ready_vectors):
            raise UnusableIndex(
                f"{self._path} was embedded by another model (weights {_short(known)}, this bundle "
                f"has {_short(model_hash)}); build into another directory"
            )
        if "identity" not in stored:  # files of the same format were written without it
            with self._transaction():
                self._connection.execute("INSERT INTO meta VALUES (?, ?)", _identity())

    @property
    def seq(self) -> int:
        """The sequence number of the last committed mutation."""
        with storage_errors(self._path):
            return self._next_numbers().seq - 1

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """Return what is stored about those of ``ids`` that live; every id must be a usable one."""
        with storage_errors(self._path):
            return self._known(ids)

    def apply(self, mutations: Sequence[Mutation]) -> list[Applied | ClipsearchError]:
        """Commit a group of mutations in one transaction; when this returns they survive power loss.

        Each is answered in its place, as if they had come one after the other: Applied, with an outcome for every item,
        or an error where a request id is not usable (InvalidInput) or was used with other content (RequestIdReused). A
        mutation that changes nothing takes no sequence number, and a group of such writes nothing.

        Raises StorageFull where there is no room, and StorageFailed where the disk failed: no mutation of the group may
        be acknowledged then. Nothing of it is seen by readers; only after a failed flush and a crash upon it can a
        group turn out to be stored, and then it is so as a whole. Whoever keeps state in memory compares ``seq`` then.
        """
        # Before the transaction, so that it is as short as it can be.
        checked = [None if isinstance(some, Delete) else check_items(some.items, self.dimension) for some in mutations]
        with storage_errors(self._path), self._transaction():
            numbers = self._next_numbers()
            first = numbers.seq
            answers = [self._apply_one(some, items, numbers) for some, items in zip(mutations, checked, strict=True)]
            if numbers.seq != first:
                values = [(numbers.seq - 1, "seq"), (numbers.row, "next_row")]
                self._connection.executemany("UPDATE meta SET value = ? WHERE key = ?", values)
            if any(some.request_id is not None for some in mutations):
                self._forget_old_requests()
        return answers

    def skip_to(self, seq: int) -> None:
        """Have the next mutation take a sequence number above ``seq``; without effect where that is so already."""
        with storage_errors(self._path), self._transaction():
            self._connection.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'seq'", (seq,))

    def upsert(self, items: Sequence[Item]) -> Sequence[Outcome]:
        """Commit items as a group of their own; returns an outcome for each. Raises as ``apply`` does."""
        (applied,) = self.apply([Upsert(items)])
        if isinstance(applied, ClipsearchError):
            raise applied
        return applied.outcomes

    def _apply_one(
        self, mutation: Mutation, checked: list[CheckedItem | ClipsearchError] | None, numbers: NextNumbers
    ) -> Applied | ClipsearchError:
        if mutation.request_id is None:
            return self._change(mutation, checked, numbers)
        try:
            check_id(mutation.request_id)
        except BadItemId:
            return InvalidInput("a request id has 1 to 256 bytes of printable Unicode", field="request_id")
        content = fingerprint(mutation)
        earlier = self._earlier(mutation.request_id, content)
        if earlier is not None:
            return earlier
        applied = self._change(mutation, checked, numbers)
        self._connection.execute(
            "INSERT INTO requests (request_id, fingerprint, seq, outcome, at) "
            "VALUES (?, ?, ?, ?, CAST(strftime('%s', 'now') AS INTEGER))",
            (mutation.request_id, content, applied.seq, outcomes_to_json(applied.outcomes)),
        )
        return applied

    def _earlier(self, request_id: str, content: bytes) -> Applied | RequestIdReused | None:
        found = self._connection.execute(
            "SELECT fingerprint, seq, outcome FROM requests WHERE request_id = ?", (request_id,)
        ).fetchone()
        if found is None:
            return None
        if found[0] != content:
            return RequestIdReused(
                "this request id was used for another request",
                field="request_id",
                metadata={"request_id": request_id},
            )
        return Changes(self.dimension).applied(found[1], outcomes_from_json(found[2]), repeated=True)

    def _change(
        self, mutation: Mutation, checked: list[CheckedItem | ClipsearchError] | None, numbers: NextNumbers
    ) -> Applied:
        changes = Changes(self.dimension)
        if isinstance(mutation, Delete):
            outcomes = changes.delete(mutation.ids, self._live_rows)
        else:
            items = checked or []
            known = self._known([item.id for item in items if isinstance(item, CheckedItem)])
            outcomes = changes.upsert(items, known, numbers.row)
        if changes.is_empty:
            return changes.applied(numbers.seq - 1, outcomes)
        seq = numbers.seq
        # First the dead, because an id has one live row.
        self._connection.executemany(
            "UPDATE items SET deleted_seq = ? WHERE row = ?", [(seq, row) for row in changes.removed]
        )
        self._connection.executemany(
            _INSERT,
            [
                (row, item.id, item.metadata, item.uri, content_hash, blob, checksum(blob), seq)
                for row, item, content_hash, blob in changes.added
            ],
        )
        numbers.seq += 1
        numbers.row += len(changes.added)
        return changes.applied(seq, outcomes)

    def _known(self, ids: Sequence[str]) -> dict[str, Known]:
        return known_items(self._connection.execute(SELECT_KNOWN, (json.dumps(ids),)), self.dimension)

    def _live_rows(self, ids: Sequence[str]) -> dict[str, int]:
        return dict(self._connection.execute(f"SELECT id, row FROM {OF_THESE}", (json.dumps(ids),)))

    def _next_numbers(self) -> NextNumbers:
        stored = dict(self._connection.execute("SELECT key, value FROM meta WHERE key IN ('seq', 'next_row')"))
        return NextNumbers(seq=stored["seq"] + 1, row=stored["next_row"])

    def _forget_old_requests(self) -> None:
        self._connection.execute(
            "DELETE FROM requests WHERE number <= (SELECT max(number) FROM requests) - ?", (self._requests_kept,)
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # After some failures SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Fold the log into the file where there is room, close it and let the next writer in."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            # Nothing is lost: whoever opens the file next reads the log too.
            logger.warning("the log of %s could not be folded into it: %s", self._path, error)
        finally:
            self._connection.close()
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _identity() -> tuple[str, str]:
    return "identity", uuid.uuid4().hex


def _short(model_hash: object) -> str:
    return "unknown" if model_hash is None else f"{model_hash}"[:12]
