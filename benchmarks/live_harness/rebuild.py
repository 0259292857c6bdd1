"""Searches before, during and after a rebuild in the same process, on half of the cores, as a server runs it.

A client asks at moments that are fixed beforehand (open loop): what comes late is counted from when it was due, so a
stall shows in all the searches that it held up. Single queries and small batches take turns of half a second each, so
that even a short rebuild meets both.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

import numpy as np

from benchmarks.harness.figures import once, percentile
from benchmarks.harness.report import Line, Outcome
from benchmarks.live_harness.context import Context, Float32, Pace, Vectors, prepare
from benchmarks.live_harness.load import MANY, item, upsert
from benchmarks.live_harness.served import Served, opened, served
from benchmarks.live_harness.stages import Stages
from clipsearch.catalogue.mutations import Change
from clipsearch.collection import Collection
from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.index.drift import delta_limit
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Training
from clipsearch.index.tuning import Report
from clipsearch.services.searcher import Lookup, Neighbours, Probe

SECTION = "rebuild"
TARGET = 2.0
K = 10
BATCH = 16
TURN_S = 0.5
TIMER_S = 1.5e-3
"""The event loop's timers are this coarse: a client that is no later than this is not held up by the server."""

WAYS: dict[str, Callable[[Collection, Report], IndexManifest]] = {
    "readd": lambda collection, report: collection.rebuild(report),
    "retrain": lambda collection, report: collection.rebuild(report, Training.ALWAYS),
}
"""Kinds of rebuild that can be asked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One search or batch: when it was due, of how many queries, how long until all were answered, and how many failed.

    A query fails that raises, or that finds fewer than ``K`` items.
    """

    due: float
    queries: int
    ms: float
    failed: int


def rebuild(context: Context) -> Outcome:
    """Measure each kind of rebuild that was asked for; raises RuntimeError where there is no index to begin with."""
    vectors = prepare(context)
    outcome = Outcome()
    with opened(context, vectors.tuning) as data:
        if data.collection(DEFAULT).stats().index is None:
            raise RuntimeError(f"{context.data} has no index that could be replaced; run the section build first")
        for way in context.rebuild:
            context.say(f"searching before, during and after a rebuild ({way})")
            asyncio.run(_measure(context, vectors, data, way, outcome))
    return outcome


async def _measure(context: Context, vectors: Vectors, data: DataDirectory, way: str, outcome: Outcome) -> None:
    async with served(data) as running:
        await _change_some(context, vectors, running)
        client = _Client(running, vectors.images, context.pace)
        await client.ask_for(context.pace.steady_s / 10)  # pages that nobody has touched yet
        before = await client.ask_for(context.pace.steady_s)
        stages, began = Stages(), time.perf_counter()
        rebuilding = asyncio.create_task(asyncio.to_thread(WAYS[way], running.collection, stages.report))
        during = await client.ask_until(rebuilding.done)
        await rebuilding
        seconds = time.perf_counter() - began
        in_stages = stages.seconds()
        after = await client.ask_for(context.pace.steady_s)
    outcome.lines.append(Line(SECTION, f"{way}: seconds", "s", once(seconds)))
    outcome.lines += _lines(way, {"before": before, "during": during, "after": after})
    outcome.samples[way] = {"stages_s": in_stages, "during": _by_stage(during, stages)}


async def _change_some(context: Context, vectors: Vectors, running: Served) -> None:
    """Give items another vector, half as many as make a rebuild due: there are always a delta and tombstones."""
    wanted = delta_limit(context.n) // 2
    # No two runs write the same, which would change nothing.
    price = running.collection.view.seq
    chosen = np.random.default_rng(price).choice(context.n, min(wanted, context.n), replace=False).tolist()
    for start in range(0, len(chosen), MANY):
        changed = [item(i, vectors.newer[i % len(vectors.newer)], price=price) for i in chosen[start : start + MANY]]
        await upsert(running, changed, Change.UPDATED)


class _Client:
    """Asks the search lane at fixed moments, on the event loop, as requests come in from a network."""

    def __init__(self, running: Served, queries: Float32, pace: Pace) -> None:
        self._running, self._queries, self._pace = running, queries, pace
        self._next = count()

    async def ask_for(self, seconds: float) -> list[Asked]:
        """Ask for some seconds."""
        end = time.perf_counter() + seconds
        return await self.ask_until(lambda: time.perf_counter() >= end)

    async def ask_until(self, over: Callable[[], bool]) -> list[Asked]:
        """Ask, in turns of single queries and of batches, until it is over."""
        asked: list[asyncio.Task[Asked]] = []
        start = time.perf_counter()
        for turn in count():
            size, rate = (BATCH, self._pace.batch_rate) if turn % 2 else (1, self._pace.rate)
            for moment in np.arange(0.0, TURN_S, 1 / rate).tolist():
                due = start + turn * TURN_S + moment
                await asyncio.sleep(due - time.perf_counter())
                if over():
                    return await asyncio.gather(*asked)
                asked.append(asyncio.create_task(self._ask(due, size)))
        raise AssertionError("unreachable")

    async def _ask(self, due: float, size: int) -> Asked:
        now = time.perf_counter()
        began = due if now - due > TIMER_S else now
        answers = await asyncio.gather(*(self._one() for _ in range(size)), return_exceptions=True)
        ms = 1e3 * (time.perf_counter() - began)
        failed = sum(isinstance(answer, BaseException) or len(answer.ids) < K for answer in answers)
        return Asked(due, size, ms, failed)

    async def _one(self) -> Neighbours:
        query = self._queries[next(self._next) % len(self._queries)]
        answer = await self._running.search.submit(Lookup(query, Probe(top_k=K)))
        return answer.output


def _lines(way: str, phases: dict[str, list[Asked]]) -> list[Line]:
    lines = []
    for size, label in ((1, "single"), (BATCH, f"batch of {BATCH}")):
        p99 = {}
        for phase, asked in phases.items():
            times = _times(asked, size)
            p99[phase] = percentile(times, 0.99)
            for name, value in (("p50", percentile(times, 0.5)), ("p99", p99[phase])):
                lines.append(Line(SECTION, f"{way}: {label}, {phase}, {name}", "ms", once(value, len(times))))
        for phase, target in (("during", TARGET), ("after", None)):
            ratio = once(p99[phase] / p99["before"])
            lines.append(Line(SECTION, f"{way}: {label}, p99 {phase} / before", "x", ratio, target, "lower"))
    failed = sum(one.failed for asked in phases.values() for one in asked)
    queries = sum(one.queries for asked in phases.values() for one in asked)
    return [*lines, Line(SECTION, f"{way}: failed searches", "", once(failed, queries), 0.0, "lower")]


def _times(asked: Iterable[Asked], size: int) -> list[float]:
    return [one.ms for one in asked if one.queries == size]


def _by_stage(asked: list[Asked], stages: Stages) -> dict[str, dict[str, dict[str, float]]]:
    """Return percentiles in milliseconds of what was due in each stage: where a cliff is, if there is one."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for size, label in ((1, "single"), (BATCH, "batch")):
        for name in stages.seconds():
            times = _times((one for one in asked if stages.at(one.due) == name), size)
            if times:
                found.setdefault(name, {})[label] = {
                    "count": len(times),
                    "p50_ms": percentile(times, 0.5),
                    "p99_ms": percentile(times, 0.99),
                    "max_ms": max(times),
                }
    return found
