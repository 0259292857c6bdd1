"""Durable writes of ready vectors: in batches until the collection is full, one by one, and updated.

They go the way of ``UpsertItems`` from the request's items on: normalised, hashed, through the write lane, committed in
groups, published to the live index. Rebuilds by themselves are off, so that what is measured is the writing.
"""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness.figures import once, percentile, ratios, summarise
from benchmarks.harness.report import Line, Outcome
from benchmarks.live_harness.context import Context, Float16, Vectors, prepare
from benchmarks.live_harness.served import Served, opened, served
from clipsearch.catalogue.items import Item, metadata_json
from clipsearch.catalogue.mutations import Change, Delete, Upsert
from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.services.catalogue import Write
from clipsearch.services.query import unit_vector

SECTION = "load"
MANY = 500
"""Items of one batch."""

BATCH_CALLERS = 8
SINGLE_CALLERS = 32
TARGET = 5000.0
WINDOWS = 10
"""Parts of the load whose rates are told apart: sustained means that the last is like the first."""

PICKS = 10_000
"""Values of the metadata field that filters choose by: one of them is 0.01 % of the items."""

_PAGE = 4096


SCRATCH = "scratch"
"""Name of items that are written on top and deleted again."""


def item(number: int, vector: Float16, name: str = "item", price: int = 10) -> Item:
    """Return an item as ``UpsertItems`` makes one of a ready vector, with the metadata of a small shop."""
    # A Knuth multiplicative hash: as good as random, and the same in every run.
    chance = number * 2_654_435_761 % 2**32
    metadata = metadata_json(
        {"brand": f"brand-{chance % 97}", "pick": chance % PICKS, "price": price, "title": f"the {number}th thing"}
    )
    given = vector.astype(np.float32)
    content = hashlib.sha256(b"vector" + given.tobytes()).digest()
    stored = unit_vector(given, len(given)).astype(np.float16)
    return Item(f"{name}-{number}", metadata, stored, content, f"pictures/{number}.jpg")


def load(context: Context) -> Outcome:
    """Fill a new collection, write one by one and update what was written; leaves exactly the ``n`` items in it."""
    vectors = prepare(context)
    shutil.rmtree(context.data, ignore_errors=True)
    outcome = Outcome()
    with opened(context, vectors.tuning) as data:
        asyncio.run(_write_all(context, vectors, data, outcome))
        items = data.collection(DEFAULT).stats().items
    if items != context.n:
        raise RuntimeError(f"the collection holds {items} items instead of {context.n}")
    return outcome


async def _write_all(context: Context, vectors: Vectors, data: DataDirectory, outcome: Outcome) -> None:
    async with served(data) as running:
        await _in_batches(context, vectors, running, outcome)
        await _updates(context, vectors, running, outcome)
        await _one_by_one(context, vectors, running, outcome)
        for start in range(0, _scratch_size(context), MANY):
            ids = [f"{SCRATCH}-{i}" for i in range(start, min(start + MANY, _scratch_size(context)))]
            await _submit(running, Write(running.collection, Delete(ids)), len(ids), Change.DELETED)


async def upsert(running: Served, items: Sequence[Item], expected: Change, request_id: str | None = None) -> None:
    """Write items as one call; raises RuntimeError unless each was durable and searchable with this outcome."""
    await _submit(running, Write(running.collection, Upsert(items, request_id)), len(items), expected)


async def _submit(running: Served, write: Write, size: int, expected: Change) -> None:
    answer = await running.write.submit(write, length=size)
    if any(outcome is not expected for outcome in answer.output.outcomes):
        raise RuntimeError(f"not every item was {expected.value}: {answer.output.outcomes[:3]} …")


async def _in_batches(context: Context, vectors: Vectors, running: Served, outcome: Outcome) -> None:
    context.say(f"loading {context.n} items, {MANY} a call, {BATCH_CALLERS} callers")
    starts = iter(range(0, context.n, MANY))
    done: list[tuple[float, int]] = []

    async def caller() -> None:
        for start in starts:
            some = range(start, min(start + MANY, context.n))
            await upsert(running, [item(i, vectors.base[i]) for i in some], Change.CREATED)
            done.append((time.perf_counter(), len(some)))

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(BATCH_CALLERS)))
    rates = _rates(began, done)
    label = f"new items, {MANY} a call, {BATCH_CALLERS} callers"
    outcome.lines.append(Line(SECTION, label, "items/s", summarise(rates), TARGET))
    outcome.samples["rates_of_tenths"] = rates
    outcome.samples["load_s"] = done[-1][0] - began


def _rates(began: float, done: Sequence[tuple[float, int]]) -> list[float]:
    """Return items per second over each of ``WINDOWS`` parts of the calls, in their order."""
    rates = []
    for part in np.array_split(np.arange(len(done)), min(WINDOWS, len(done))):
        ended = done[part[-1]][0]
        rates.append(sum(done[i][1] for i in part) / (ended - began))
        began = ended
    return rates


async def _updates(context: Context, vectors: Vectors, running: Served, outcome: Outcome) -> None:
    """The same items again with other metadata, one caller."""
    rates: list[float] = []
    for turn in range(1 + context.pace.rounds):
        expected = Change.UPDATED if turn else Change.CREATED
        began = time.perf_counter()
        for start in range(0, _scratch_size(context), MANY):
            some = range(start, min(start + MANY, _scratch_size(context)))
            changed = [item(i, vectors.newer[i % len(vectors.newer)], SCRATCH, turn) for i in some]
            await upsert(running, changed, expected)
        if turn:
            rates.append(_scratch_size(context) / (time.perf_counter() - began))
    outcome.lines.append(Line(SECTION, f"updated items, {MANY} a call, one caller", "items/s", summarise(rates)))


async def _one_by_one(context: Context, vectors: Vectors, running: Served, outcome: Outcome) -> None:
    """Single-item calls beside what the disk can do: its flushes are taken in the same rounds."""
    singles, rounds = context.pace.singles, context.pace.rounds
    context.say(f"{rounds} rounds of single items, by one caller and by {SINGLE_CALLERS}")
    flushes: list[float] = []
    sides = {"one caller": _Singles(1, singles), f"{SINGLE_CALLERS} callers": _Singles(SINGLE_CALLERS, 8 * singles)}
    for turn in range(rounds):
        flushes.append(_flush_rate(context.data / DEFAULT, singles))
        for side in sides.values():
            await side.take_turn(turn, vectors, running)
    outcome.lines.append(Line(SECTION, "bare flushes of one page", "flushes/s", summarise(flushes)))
    for label, side in sides.items():
        over = summarise(ratios(side.rates, flushes))
        p99 = once(percentile(side.ms, 0.99), len(side.ms))
        outcome.lines += [
            Line(SECTION, f"single items, {label}", "items/s", summarise(side.rates)),
            Line(SECTION, f"single items, {label} / bare flushes", "x", over),
            Line(SECTION, f"single items, {label}, p99", "ms", p99, better="lower"),
        ]
    outcome.samples |= {"flush_rates": flushes, "single_rates": {label: side.rates for label, side in sides.items()}}


class _Singles:
    """Some callers that update ``items`` in each turn, one item a call: items per second, milliseconds of each."""

    def __init__(self, callers: int, items: int) -> None:
        self.rates: list[float] = []
        self.ms: list[float] = []
        self._callers, self._items = callers, items

    async def take_turn(self, turn: int, vectors: Vectors, running: Served) -> None:
        """Write all items once."""
        numbers = iter(range(self._items))
        # Another price each time: what is unchanged is not written.
        price = 1000 * (turn + 1) + self._callers

        async def caller() -> None:
            for number in numbers:
                changed = item(number, vectors.newer[number % len(vectors.newer)], SCRATCH, price)
                began = time.perf_counter()
                await upsert(running, [changed], Change.UPDATED, f"request-{price}-{number}")
                self.ms.append(1e3 * (time.perf_counter() - began))

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(self._callers)))
        self.rates.append(self._items / (time.perf_counter() - began))


def _scratch_size(context: Context) -> int:
    """How many items the rounds of single writes change."""
    return max(MANY, 8 * context.pace.singles)


def _flush_rate(directory: Path, times: int) -> float:
    """Return how often a second one page can be overwritten and flushed: the least that a durable write can cost."""
    path = directory / ".flush"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(descriptor, bytes(_PAGE), 0)
        os.fsync(descriptor)
        began = time.perf_counter()
        for _ in range(times):
            os.pwrite(descriptor, os.urandom(_PAGE), 0)
            os.fdatasync(descriptor)
        return times / (time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
