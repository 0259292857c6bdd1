"""The counts of one filter's items, kept up to date row by row.

Rows never change and each dies once, so counts at one sequence number become those at a later one by adding the rows
that came and taking off those that died: only the first count reads everything. The counts lie in a temporary table,
which SQLite spills to a temporary file: fields like titles have as many values as there are items.

SQLite takes the fields out of the metadata and Python counts what comes, as JSON: of a thousand prices only the
distinct ones are then parsed. SQLite's own GROUP BY sorts where a dictionary counts, and Python's parser reads all of
the metadata; each made this several times slower. Python's lock is free between any two rows, while SQLite steps.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

from clipsearch.catalogue.connection import SharedConnection
from clipsearch.catalogue.facets.values import Facets, FacetValue, FieldCounts, FieldFacet, Kind, Path, Value
from clipsearch.catalogue.filters.compile import MAX_SEGMENTS, CompiledFilter, SqlValue, json_path
from clipsearch.catalogue.filters.tree import can_name
from clipsearch.errors import TooManyFields

MAX_FIELDS = 256
"""Most fields that are counted at once."""

ROWS_AT_ONCE = 131_072
"""Rows counted in one transaction, about half a second: the log can be folded and a caller stopped in between."""

_FETCHED = 1024
"""Rows in memory at once: some hundred kilobytes, or 64 MiB where all metadata are as large as may be."""

Check = Callable[[], None]
"""Called between blocks of rows; what it raises ends the count, and the next one goes on from there."""

_Counted = dict[int, FieldCounts]
"""What some items count, by the number of the field."""


class Tally:
    """One filter's counts, for one thread at a time."""

    def __init__(
        self,
        connection: SharedConnection,
        scan: str,
        table: str,
        condition: CompiledFilter | None,
        paths: frozenset[Path],
    ) -> None:
        """Make an empty one in the temporary table ``table``; ``scan`` says which index has the metadata by row.

        It counts the fields ``paths``, and where there are none all that it finds.
        """
        self._connection = connection
        self._table = f"temp.{table}"
        self._finds = not paths
        self._numbers: dict[Path, int] = {path: number for number, path in enumerate(sorted(paths))}
        self._seq = self._end = 0
        self._answer: tuple[int, Facets] | None = None
        only = "" if condition is None else f" AND ({condition.sql})"
        self._parameters = () if condition is None else condition.parameters
        self._born = (
            f"main.items {scan}@ WHERE row >= ? AND row < ? AND row NOT IN (SELECT row FROM "
            f"main.items INDEXED BY deaths WHERE deleted_seq <= ? AND row >= ? AND row < ?){only}"
        )
        self._died = f"main.items INDEXED BY deaths WHERE deleted_seq > ? AND deleted_seq <= ? AND row < ?{only}"
        with connection.transaction() as opened:
            opened.execute(
                f"CREATE TABLE {self._table} (field INTEGER NOT NULL, kind INTEGER NOT NULL, value ANY NOT NULL, "
                "items INTEGER NOT NULL, PRIMARY KEY (field, kind, value)) STRICT, WITHOUT ROWID"
            )

    def facets(self, limit: int, check: Check) -> Facets:
        """Return the counts as of now, with up to ``limit`` values of each field.

        Raises TooManyFields where more than MAX_FIELDS are found, and what ``check`` does.
        """
        self._follow(check)
        if self._answer is None or self._answer[0] != limit:
            with self._connection.transaction() as opened:
                shown = sorted(path for path in self._numbers if not self._finds or self._holds_values(opened, path))
                found = {path: self._facet(opened, self._numbers[path], limit) for path in shown}
            self._answer = limit, Facets(self._seq, found)
        return self._answer[1]

    def drop(self) -> None:
        """Free what the counts take."""
        with self._connection.transaction() as opened:
            opened.execute(f"DROP TABLE {self._table}")

    def _follow(self, check: Check) -> None:
        """Go on to the catalogue's last sequence number."""
        meta = dict(self._connection.all("SELECT key, value FROM main.meta WHERE key IN ('seq', 'next_row')"))
        seq, end = int(meta["seq"]), int(meta["next_row"])
        if seq == self._seq and end == self._end:
            return
        self._answer = None
        self._take_off(seq)
        while self._end < end:
            check()
            self._add(min(self._end + ROWS_AT_ONCE, end))

    def _take_off(self, seq: int) -> None:
        """Go on to ``seq`` with the rows counted so far: those that have died since count no more."""
        rows_of = (self._seq, seq, self._end, *self._parameters)
        with self._connection.transaction() as opened:
            changes = list(_changes(_counted(opened, self._died, rows_of, self._numbers), -1))
            self._change(opened, changes)
            opened.executemany(
                f"DELETE FROM {self._table} WHERE field = ? AND kind = ? AND value = ? AND items = 0",
                [change[:3] for change in changes],
            )
        self._seq = seq

    def _add(self, end: int) -> None:
        """Count the rows before ``end`` that lived at the sequence number and were not counted yet."""
        rows_of = (self._end, end, self._seq, self._end, end, *self._parameters)
        with self._connection.transaction() as opened:
            numbers = self._found(opened, rows_of) if self._finds else self._numbers
            counted = _counted(opened, self._born.replace("@", ""), rows_of, numbers)
            self._change(opened, _changes(counted, 1))
        self._end, self._numbers = end, numbers

    def _found(self, opened: sqlite3.Connection, rows_of: tuple[SqlValue, ...]) -> dict[Path, int]:
        """The numbers of all fields, those known and those of some rows."""
        numbers = dict(self._numbers)
        source = self._born.replace("@", ", json_each(metadata, ?) AS held")
        select = f"SELECT DISTINCT held.key, held.type = 'object' FROM {source} AND typeof(held.key) = 'text'"
        objects: list[Path] = [()]
        while objects:
            above = objects.pop()
            for name, is_object in opened.execute(select, (json_path(above), *rows_of)):
                path = (*above, name)
                if not can_name(name) or len(path) > MAX_SEGMENTS:
                    continue
                if is_object:
                    objects.append(path)
                if path not in numbers:
                    numbers[path] = len(numbers)
                    check_field_count(len(numbers))
        return numbers

    def _change(self, opened: sqlite3.Connection, changes: Iterable[tuple[int, int, Value, int]]) -> None:
        opened.executemany(
            f"INSERT INTO {self._table} VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET items = items + excluded.items",
            changes,
        )

    def _one(self, opened: sqlite3.Connection, what: str, number: int, kind: Kind) -> float | None:
        select = f"SELECT {what} FROM {self._table} WHERE field = ? AND kind = ?"
        found: tuple[float | None] | None = opened.execute(select, (number, kind)).fetchone()
        return None if found is None else found[0]

    def _holds_values(self, opened: sqlite3.Connection, path: Path) -> bool:
        """Whether some item has a field and holds more in it than further fields."""
        present, objects = (
            self._one(opened, "items", self._numbers[path], kind) or 0 for kind in (Kind.PRESENT, Kind.OBJECT)
        )
        return present > objects

    def _facet(self, opened: sqlite3.Connection, number: int, limit: int) -> FieldFacet:
        common = opened.execute(
            f"SELECT kind, value, items FROM {self._table} WHERE field = ? AND kind BETWEEN {Kind.TEXT} AND {Kind.BOOL}"
            " ORDER BY items DESC, kind, value LIMIT ?",
            (number, limit + 1),
        ).fetchall()
        return FieldFacet(
            items=int(self._one(opened, "items", number, Kind.PRESENT) or 0),
            values=[
                FacetValue(bool(value) if kind == Kind.BOOL else value, items) for kind, value, items in common[:limit]
            ],
            minimum=self._one(opened, "min(value)", number, Kind.NUMBER),
            maximum=self._one(opened, "max(value)", number, Kind.NUMBER),
            more_values=len(common) > limit or self._one(opened, "items", number, Kind.LONG) is not None,
        )


def check_field_count(count: int) -> None:
    """Raise TooManyFields for more than MAX_FIELDS."""
    if count > MAX_FIELDS:
        raise TooManyFields(
            f"more than {MAX_FIELDS} fields cannot be counted at once; name fewer",
            field="fields",
            metadata={"limit": str(MAX_FIELDS)},
        )


def _counted(
    opened: sqlite3.Connection, source: str, rows_of: tuple[SqlValue, ...], numbers: dict[Path, int]
) -> _Counted:
    """Count the fields of the rows that ``source`` selects with the parameters ``rows_of``."""
    counted: _Counted = defaultdict(FieldCounts)
    if not numbers:
        return counted
    fields = ", ".join(["metadata -> ?"] * len(numbers))
    found = opened.execute(f"SELECT {fields} FROM {source}", (*map(json_path, numbers), *rows_of))
    while rows := found.fetchmany(_FETCHED):
        for number, column in zip(numbers.values(), zip(*rows, strict=True), strict=True):
            for text, items in Counter(column).items():
                if text is not None:
                    counted[number].add(_parsed(text), items)
    return counted


def _parsed(text: str) -> object:
    # As json.loads does, which takes ten times as long: most values are numbers, or texts that hold no escape. What is
    # in an object is other fields' business.
    first = text[0]
    if first == '"' and "\\" not in text:
        return text[1:-1]
    if first in "-0123456789":
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    return {} if first == "{" else json.loads(text)


def _changes(counted: _Counted, sign: int) -> Iterator[tuple[int, int, Value, int]]:
    """What to add to the table: field, kind, value and items."""
    for number, field in counted.items():
        for kind, value, items in field.counts():
            yield number, kind, value, sign * items
