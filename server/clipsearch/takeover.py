"""What it takes for a staged model's collection to take over from the one that serves: nothing may be missing.

The pictures and texts themselves are not stored, so vectors cannot be made here: whoever has them brings them into the
staged collection, as into any other. What is done here is to compare. Metadata and uris are those of the collection
that serves; items that it does not have are deleted; and an item is missing where there is no vector of it, or where it
was written again since the staging with content that the staged collection does not have.
"""

from collections.abc import Iterator, Sequence, Set
from typing import TypeVar

from clipsearch.catalogue.items import Item, Known
from clipsearch.catalogue.mutations import Delete, Mutation, Upsert
from clipsearch.collection import Collection
from clipsearch.errors import ClipsearchError
from clipsearch.ports import Rows
from clipsearch.services.build_report import Report

T = TypeVar("T")

_BLOCK = 512
"""Items compared, and written, at once."""


class Takeover:
    """One collection and its successor. ``catch_up`` as often as one likes: each goes on from the last."""

    def __init__(self, current: Collection, successor: Collection, first_row: int) -> None:
        """``first_row`` is the row that ``current`` was at when the staging began."""
        self.current, self.successor = current, successor
        self.missing: set[str] = set()
        """Ids of items that the successor has no vector of, or an older one."""
        self._unsettled: Set[str] = frozenset()
        """Ids of items that were under way the last time."""
        self._first_row = first_row
        self._seq = self._next_row = self._next_successor_row = 0

    def catch_up(self, report: Report, under_way: Set[str] = frozenset()) -> None:
        """Compare what was written since the last time, and what was missing or under way then; correct what can be.

        Items ``under_way`` are left to whoever writes them, and compared the next time. Raises what ``report`` raises,
        and StorageFull or StorageFailed where the corrections cannot be written.
        """
        reader = self.current.reader
        # Before the rows, so that what comes in between is seen again rather than not at all.
        seq = reader.seq()
        rows, removed = reader.rows_since(self._next_row), reader.removed_since(self._seq)
        again = self.missing | self._unsettled
        self.missing, self._unsettled = set(), under_way
        for ids in _blocks(sorted(again)):
            self._compare(ids, under_way)
            self._delete_strangers(ids, under_way)
        done = 0
        for some in _blocks(rows.tolist()):
            self._compare(reader.ids(some), under_way)
            done += len(some)
            report("comparing", done, len(rows))
        theirs = self.successor.reader.rows_since(self._next_successor_row)
        for some in _blocks(removed.tolist()):
            self._delete_strangers(reader.ids(some), under_way)
        for some in _blocks(theirs.tolist()):
            self._delete_strangers(self.successor.reader.ids(some), under_way)
        self._seq = seq
        self._next_row, self._next_successor_row = (
            _after(rows, self._next_row),
            _after(theirs, self._next_successor_row),
        )

    def _compare(self, ids: Sequence[str], under_way: Set[str]) -> None:
        ours, theirs = self.current.reader.known(ids), self.successor.reader.known(ids)
        corrections = []
        for item_id, own in ours.items():
            their = theirs.get(item_id)
            if item_id in under_way:
                continue
            if their is None or self._is_older(own, their):
                self.missing.add(item_id)
            elif (own.metadata, own.uri) != (their.metadata, their.uri):
                corrections.append(Item(item_id, own.metadata, None, None, own.uri))
        if corrections:
            self._write(Upsert(corrections))

    def _is_older(self, own: Known, their: Known) -> bool:
        return own.row >= self._first_row and own.content_hash != their.content_hash

    def _delete_strangers(self, ids: Sequence[str], under_way: Set[str]) -> None:
        ours, theirs = self.current.reader.known(ids), self.successor.reader.known(ids)
        strangers = [item_id for item_id in theirs if item_id not in ours and item_id not in under_way]
        if strangers:
            self._write(Delete(strangers))

    def _write(self, mutation: Mutation) -> None:
        (applied,) = self.successor.write([mutation])
        if isinstance(applied, ClipsearchError):
            raise applied
        for outcome in applied.outcomes:
            if isinstance(outcome, ClipsearchError):
                raise outcome


def _blocks(of: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(of), _BLOCK):
        yield of[start : start + _BLOCK]


def _after(rows: Rows, before: int) -> int:
    return int(rows[-1]) + 1 if len(rows) else before
