"""Searches through filters: recall, and where the time goes that a filter takes.

Recall and latency of the index are those of ``benchmarks.filtered_recall``, on the collection's own index. What the
catalogue adds is measured on filters as callers write them: the first use scans the metadata in SQLite (``scan``: with
the catalogue's pages in the cache, and dropped from it), the next ones find what the first has worked out.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from benchmarks.filtered_recall import Bench
from benchmarks.harness.figures import once, percentile, summarise
from benchmarks.harness.report import Line, Outcome
from benchmarks.live_harness.context import Context, Float32, prepare
from benchmarks.live_harness.load import PICKS
from benchmarks.live_harness.restart import drop_from_cache
from benchmarks.live_harness.served import opened
from clipsearch.catalogue.filters.compile import CompiledFilter, compile_filter
from clipsearch.collection import Collection
from clipsearch.data import DEFAULT
from clipsearch.filtered import FilterCache
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.threads import limit_blas

SECTION = "filtered"
TARGET = 0.95
K = 10
SCANS = 3
QUERIES = 100

FILTERS = (
    *(f"pick < {count}" for count in (1, 10, 100, 1000, 5000, PICKS)),
    'brand = "brand-7"',
    'brand = "brand-7" AND pick < 1000',
    "title:*",
)
"""What callers write; ``pick`` is uniform, so the first go from 0.01 % to all."""


def filtered(context: Context) -> Outcome:
    """Measure; raises RuntimeError where the collection has no IVF-PQ index."""
    vectors = prepare(context)
    outcome = Outcome()
    with opened(context, vectors.tuning) as data:
        collection = data.collection(DEFAULT)
        base = collection.view.base
        if base is None or not isinstance(base.index, IvfPqIndex):
            raise RuntimeError(f"{context.data} has no IVF-PQ index; run the section build first")
        context.say("filters as callers write them")
        uses = [_one_filter(context, collection, vectors.images[:QUERIES], text) for text in FILTERS]
        context.say("recall through filters")
        count = context.pace.filter_queries
        limit_blas(1)
        curve = Bench(base.index, vectors.images[:count], vectors.texts[:count], context.seed).curve()
    for step in uses[0].ms:
        spread = summarise([use.ms[step] for use in uses])
        outcome.lines.append(Line(SECTION, f"{step}, over {len(FILTERS)} filters", "ms", spread, None, "lower"))
    for kind in ("random", "clusters", "hollow"):
        of_kind = [line for line in curve if line.kind == kind]
        worst = min(min(line.image_recall, line.text_recall) for line in of_kind)
        outcome.lines.append(Line(SECTION, f"{kind}: recall@{K}, the worst of all shares", "", once(worst), TARGET))
        times = summarise([line.single_us / 1e3 for line in of_kind])
        outcome.lines.append(Line(SECTION, f"{kind}: a search, over all shares", "ms", times, None, "lower"))
    outcome.samples = {"filters": list(map(asdict, uses)), "curve": list(map(asdict, curve))}
    return outcome


@dataclass(frozen=True, slots=True)
class Use:
    """What a filter selects, tombstones included, and the milliseconds of each step of using it."""

    filter: str
    selected: int
    ms: dict[str, float]


def _one_filter(context: Context, collection: Collection, queries: Float32, text: str) -> Use:
    condition, view = compile_filter(text), collection.view
    drop_from_cache(context.data)
    cold = _scan(collection, condition)
    warm = statistics.median(_scan(collection, condition) for _ in range(SCANS))
    allowed = collection.allowed(condition, view)
    cached = _ms(lambda: collection.allowed(condition, view))
    first, *others = (_ms(partial(view.search, query[None], K, allowed=allowed)) for query in queries)
    ms = {
        "first scan, cold": cold,
        "first scan, warm": warm,
        "the same filter again": cached,
        "first search": first,
        "further searches, p50": percentile(others, 0.5),
        "further searches, p99": percentile(others, 0.99),
    }
    return Use(text, len(allowed.rows), ms)


def _scan(collection: Collection, condition: CompiledFilter) -> float:
    """Return the milliseconds of a filter's first use: with a cache of its own, which knows nothing yet."""
    cache = FilterCache(collection.reader.matching)
    return _ms(lambda: cache.allowed(condition, collection.view.end_row))


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - began)
