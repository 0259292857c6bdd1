"""Metadata values as they are counted, and the counts as they are answered."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

MAX_TEXT = 256
"""Longest text that counts as a value, in code points: longer ones describe an item, and group none."""

Path = tuple[str, ...]
"""The names that lead to a field, from the outside in."""

Value = str | bool | int | float


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value and how many items have it, alone or as an element of a list; numbers that are equal are one value."""

    value: Value
    count: int


@dataclass(frozen=True, slots=True)
class FieldFacet:
    """A field: ``items`` have it, null included, and ``values`` are its most common ones, most common first.

    ``minimum`` and ``maximum`` are those of its numbers, None where it has none. ``more_values``: there are others, or
    texts of more than MAX_TEXT code points, which are never listed.
    """

    items: int
    values: Sequence[FacetValue]
    minimum: float | None
    maximum: float | None
    more_values: bool


@dataclass(frozen=True, slots=True)
class Facets:
    """The fields of what was counted, at sequence number ``seq``."""

    seq: int
    fields: Mapping[Path, FieldFacet]


class Kind(IntEnum):
    """What is counted of a field: items that have it, those with some value, with too long a text, with an object."""

    PRESENT = 0
    TEXT = 1
    NUMBER = 2
    BOOL = 3
    LONG = 4
    OBJECT = 5


Count = tuple[Kind, Value, int]
"""A kind, the value where it is of a value, and the number of items."""


@dataclass(slots=True)
class FieldCounts:
    """The counts of one field over some items."""

    present: int = 0
    long: int = 0
    objects: int = 0
    texts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    numbers: dict[float, int] = field(default_factory=lambda: defaultdict(int))
    # Apart from the numbers, for in Python True equals 1.
    bools: dict[bool, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, value: object, items: int) -> None:
        """Count what so many items hold in the field."""
        self.present += items
        if isinstance(value, dict):
            self.objects += items
        elements = value if isinstance(value, list) else [value]
        # All of them are counted before it is asked whether one was too long: all() alone would stop at that.
        counted = [self._count(element, items) for element in _distinct(elements)]
        if not all(counted):
            self.long += items

    def _count(self, value: Value, items: int) -> bool:
        """Count a value; returns whether it is one, and not too long a text."""
        match value:
            case str():
                if len(value) > MAX_TEXT:
                    return False
                self.texts[value] += items
            case bool():
                self.bools[value] += items
            case int() | float():
                self.numbers[_stored(value)] += items
        return True

    def counts(self) -> Iterator[Count]:
        """Return what was counted."""
        yield Kind.PRESENT, 0, self.present
        if self.long:
            yield Kind.LONG, 0, self.long
        if self.objects:
            yield Kind.OBJECT, 0, self.objects
        for text, items in self.texts.items():
            yield Kind.TEXT, text, items
        for number, items in self.numbers.items():
            yield Kind.NUMBER, number, items
        for true, items in self.bools.items():
            yield Kind.BOOL, true, items


def _distinct(elements: Sequence[object]) -> Iterator[Value]:
    """The values among a list's elements, each once: 1 and 1.0 are one, 1 and true are two."""
    seen: set[tuple[bool, Value]] = set()
    for element in elements:
        if isinstance(element, str | int | float):
            key = (isinstance(element, bool), element)
            if key not in seen:
                seen.add(key)
                yield element


def _stored(number: float) -> float:
    """A number as SQLite holds it: whole ones of more than 64 bits as floats, which is how filters take them."""
    # By its digits, for float(10**400) is an error, and infinity what SQLite reads.
    return number if -(2**63) <= number < 2**63 else float(str(number))
