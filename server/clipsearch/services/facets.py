"""Counting what the metadata of a collection hold.

A count may take seconds, so all of them share one thread of their own: none takes a core from more than one, and none
keeps the threads from those who only look an item up.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from clipsearch.batching.admission import Admission
from clipsearch.catalogue.facets.tally import check_field_count
from clipsearch.catalogue.facets.values import FieldFacet, Path
from clipsearch.catalogue.filters.compile import compile_filter, field_path
from clipsearch.catalogue.filters.tree import Field
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.errors import (
    BadFacetField,
    Cancelled,
    DeadlineExpired,
    FacetLimitOutOfRange,
    FilterTooComplex,
    MalformedFilter,
)
from clipsearch.services.call import Call
from clipsearch.services.serving import Serving

# What the layer above needs of the layers below.
__all__ = ["Counted", "FacetService", "FieldFacet"]

DEFAULT_VALUES = 20
MAX_VALUES = 1000
"""Most values listed of a field."""

MAX_WAITING = 64
"""Most callers at once: all but one of them wait."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Fields by name, in the order that they were asked for, as they were at sequence number ``seq``."""

    seq: int
    fields: Sequence[tuple[str, FieldFacet]]


class FacetService:
    """The use case. Called on the event loop."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._admission = Admission("facets", MAX_WAITING)
        self._admission.open()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="facets")

    async def facets(
        self, collection: str, condition: str, fields: Sequence[str], value_limit: int, call: Call
    ) -> Counted:
        """Count the values of fields, of all where none is named, over the items that a filter lets through.

        Each field has up to ``value_limit`` values, 20 for 0. Raises CollectionNotFound, FacetLimitOutOfRange,
        TooManyFields, BadFacetField, MalformedFilter, FilterTooComplex, QueueFull, DeadlineExpired, StorageFull or
        StorageFailed.
        """
        where = self._serving.where(collection)
        if not 0 <= value_limit <= MAX_VALUES:
            raise FacetLimitOutOfRange(
                f"value_limit is {value_limit}, but must be from 1 to {MAX_VALUES}, or 0 for {DEFAULT_VALUES}",
                field="value_limit",
                metadata={"value_limit": str(value_limit), "max_value_limit": str(MAX_VALUES)},
            )
        check_field_count(len(fields))
        left = threading.Event()
        check = _Check(call.deadline, left)
        limit = value_limit or DEFAULT_VALUES
        with self._admission.enter(call.demand(self._admission)):
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(
                    self._thread, _count, where.collection.reader, condition, fields, limit, check
                )
            finally:
                left.set()

    def stop(self) -> None:
        """Take no more callers, and wait for the one whose count runs."""
        self._thread.shutdown()


@dataclass(frozen=True, slots=True)
class _Check:
    """Raises where nobody waits for the count any more; what was counted stays for the next caller."""

    deadline: float
    left: threading.Event
    clock: Callable[[], float] = time.monotonic

    def __call__(self) -> None:
        if self.left.is_set():
            raise Cancelled("the caller went away")
        if self.clock() > self.deadline:
            raise DeadlineExpired("the deadline passed while the items were counted; the next call goes on from there")


def _count(reader: CatalogueReader, condition: str, fields: Sequence[str], limit: int, check: _Check) -> Counted:
    only = compile_filter(condition) if condition else None
    paths = [_path(name, place) for place, name in enumerate(fields)]
    facets = reader.facets.facets(only, paths, limit, check)
    named = list(zip(fields, paths, strict=True)) or [(str(Field(path)), path) for path in facets.fields]
    return Counted(facets.seq, [(name, facets.fields[path]) for name, path in named])


def _path(name: str, place: int) -> Path:
    try:
        return field_path(name)
    except (MalformedFilter, FilterTooComplex) as error:
        raise BadFacetField("this is not a field, such as colour or size.eu", field=f"fields[{place}]") from error
