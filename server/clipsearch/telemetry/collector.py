"""Reads the server when somebody scrapes: meters, lanes, towers, collections and jobs, all of them held elsewhere.

A scrape runs on the endpoint's thread. What it costs, a few milliseconds and a short walk over each catalogue's index,
is paid per scrape and never by a request.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from clipsearch import __version__
from clipsearch.batching.lane import Lane
from clipsearch.collection import CollectionStats
from clipsearch.data import DataDirectory
from clipsearch.encoders.load import Encoders
from clipsearch.errors import ClipsearchError
from clipsearch.ports import Priority
from clipsearch.services.operations import Operations
from clipsearch.services.query_cache import QueryCache
from clipsearch.services.recall import LiveRecall, QueryKind, RecallMonitor
from clipsearch.telemetry import metrics as m
from clipsearch.telemetry.child_cpu import ChildCpu
from clipsearch.telemetry.device import DeviceMemory
from clipsearch.telemetry.histogram import Histogram
from clipsearch.telemetry.loop_lag import LoopLag
from clipsearch.telemetry.meters import LaneMeter, PreprocessMeter, RequestMeter

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Meters:
    """What was counted on the way of the requests; the lanes' by the lane's name."""

    requests: RequestMeter
    preprocess: PreprocessMeter
    lanes: Mapping[str, LaneMeter]
    loop_lag: LoopLag


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read besides; the encoders and the collections are those that serve when it is asked for."""

    encoders: Callable[[], Encoders]
    lanes: Sequence[Lane[Any, Any]]
    operations: Operations
    recall: RecallMonitor
    queries: QueryCache
    data: Callable[[], DataDirectory | None]
    serving: Callable[[], bool]
    decoders: Callable[[], Sequence[int]]
    """Process ids of the decoders there are."""
    fronts: Callable[[], Sequence[int]]
    """Those of the front processes."""


class ServerCollector(Collector):
    """Everything in ``metrics.ALL``."""

    def __init__(self, meters: Meters, sources: Sources) -> None:
        self._meters, self._sources = meters, sources
        self._children = {"decoders": ChildCpu(sources.decoders), "fronts": ChildCpu(sources.fronts)}
        self._devices = DeviceMemory() if sources.encoders().device == "cuda" else None

    def collect(self) -> Iterator[Metric]:
        """Return the state of the moment."""
        return chain(self._requests(), self._lanes(), self._encoders(), self._collections(), self._process())

    def _requests(self) -> Iterator[Metric]:
        requests = self._meters.requests
        yield m.REQUESTS.family(dict(requests.ended).items())
        yield m.REQUEST_SECONDS.histograms(((method,), [one]) for method, one in dict(requests.seconds).items())

    def _lanes(self) -> Iterator[Metric]:
        meters, lanes = self._meters.lanes, self._sources.lanes
        yield m.STAGE_SECONDS.histograms(self._stages())
        yield m.BATCH_ITEMS.histograms(((lane,), [meter.items]) for lane, meter in meters.items())
        yield m.BATCH_FILL.histograms(((lane,), [meter.fill]) for lane, meter in meters.items())
        yield m.BATCH_SECONDS.histograms(((lane,), [meter.seconds]) for lane, meter in meters.items())
        yield m.QUEUE_WAIT.histograms(
            ((lane, priority.value), [waits])
            for lane, meter in meters.items()
            for priority, waits in meter.waits.items()
        )
        yield m.QUEUE_ITEMS.family(
            ((lane.name, priority.value), lane.depth(priority)) for lane in lanes for priority in Priority
        )
        yield m.LANE_ITEMS.family(((lane.name,), lane.admission.inside) for lane in lanes)
        yield m.LANE_CAPACITY.family(((lane.name,), lane.capacity) for lane in lanes)
        yield m.LANE_RUNNING.family(((lane.name,), lane.running_s()) for lane in lanes)
        yield m.DROPPED.family(chain.from_iterable(map(_dropped, lanes)))
        yield m.FAILED.family(((lane.name,), lane.counts.failed) for lane in lanes)
        text = next(lane.counts for lane in lanes if lane.name == "text")
        yield m.TEXT_TOKENS.family([(("real",), text.cost), (("padding",), text.padded_cost - text.cost)])

    def _stages(self) -> Iterator[tuple[tuple[str, str], Sequence[Histogram]]]:
        for lane, preprocess in self._meters.preprocess.seconds.items():
            yield ("preprocess", lane), [preprocess]
        for lane, meter in self._meters.lanes.items():
            yield ("queue", lane), list(meter.waits.values())
            for stage, one in meter.stages.items():
                yield (stage, lane), [one]

    def _encoders(self) -> Iterator[Metric]:
        yield m.PREPROCESS_FAILURES.family(dict(self._meters.preprocess.failures).items())
        encoders = self._sources.encoders()
        usages = {"text": encoders.text.usage, "image": encoders.image.usage}
        queries = self._sources.queries
        yield m.QUERY_CACHE.family([(("hit",), queries.hits), (("miss",), queries.misses)])
        yield m.QUERY_CACHE_BYTES.family([((), queries.held_bytes)])
        yield m.ENCODER_RUNS.family(((tower,), usage.runs) for tower, usage in usages.items())
        yield m.ENCODER_SECONDS.family(((tower,), usage.seconds) for tower, usage in usages.items())

    def _collections(self) -> Iterator[Metric]:
        data = self._sources.data()
        stats = {} if data is None else _stats(data)
        for metric, value in _SIZES.items():
            yield metric.family(((name,), value(one)) for name, (one, _) in stats.items())
        yield m.REBUILDING.family(((name,), rebuilding) for name, (_, rebuilding) in stats.items())
        yield from _indexes({name: one for name, (one, _) in stats.items()})
        live = {name: self._sources.recall.measured(name) for name in stats}
        yield m.LIVE_WANTED.family(_by_kind(live, lambda one: one.wanted))
        yield m.LIVE_FOUND.family(_by_kind(live, lambda one: one.found))

    def _process(self) -> Iterator[Metric]:
        running = [job.about.kind for job in self._sources.operations.all() if not job.done.is_set()]
        yield m.JOBS.family(((kind,), running.count(kind)) for kind in _JOBS)
        yield m.LOOP_LAG.histograms([((), [self._meters.loop_lag.seconds])])
        yield m.CPU.family(self._cpu())
        yield m.SERVING.family([((), self._sources.serving())])
        yield m.DEVICE_MEMORY.family(self._devices.read() if self._devices else ())
        encoders = self._sources.encoders()
        manifest = encoders.manifest
        yield m.BUILD.family([((__version__, encoders.device, manifest.precision, manifest.weight_hash[:12]), 1.0)])

    def _cpu(self) -> Iterator[tuple[tuple[str], float]]:
        yield ("event_loop",), self._meters.loop_lag.cpu_s
        for lane in self._sources.lanes:
            yield (f"{lane.name}_lane",), lane.cpu_s()
        for part, children in self._children.items():
            if (seconds := children.read()) is not None:
                yield (part,), seconds


_JOBS = ("rebuild", "snapshot", "import", "export", "model")
"""Kinds that are shown as 0 while none runs; ``services.jobs`` and ``services.model_jobs`` have them."""

_SIZES: Mapping[m.Declared, Callable[[CollectionStats], float]] = {
    m.ITEMS: lambda stats: stats.items,
    m.TOMBSTONES: lambda stats: stats.tombstones,
    m.DELTA: lambda stats: stats.delta,
    m.DAMAGED: lambda stats: stats.damaged,
    m.SEQUENCE: lambda stats: stats.seq,
    m.DISK: lambda stats: stats.disk_bytes,
}


def _dropped(lane: Lane[Any, Any]) -> Iterator[tuple[tuple[str, str], float]]:
    yield (lane.name, "expired"), lane.counts.expired
    yield (lane.name, "cancelled"), lane.counts.cancelled
    for reason, count in {"QUEUE_FULL": 0, **lane.admission.refused}.items():
        yield (lane.name, reason.lower()), count


def _stats(data: DataDirectory) -> dict[str, tuple[CollectionStats, bool]]:
    """The state of every collection; one that cannot be read, because it was just deleted or its disk fails, is left
    out: the others and the lanes are worth seeing all the more.
    """
    stats = {}
    for name in data.names():
        try:
            collection = data.collection(name)
            stats[name] = collection.stats(), collection.rebuilding
        except (ClipsearchError, OSError) as error:
            logger.warning("collection %s has no figures: %s", name, type(error).__name__)
    return stats


def _indexes(stats: Mapping[str, CollectionStats]) -> Iterator[Metric]:
    indexes = {name: one.index for name, one in stats.items() if one.index is not None}
    yield m.INDEX_ITEMS.family(((name,), one.size) for name, one in indexes.items())
    yield m.INDEX_BUILD.family(((name,), one.build_s) for name, one in indexes.items())
    yield m.INDEX_BUILT.family(
        ((name,), datetime.fromisoformat(one.built_at).timestamp()) for name, one in indexes.items()
    )
    recalls = [
        ((name, queries), recall.recall)
        for name, one in indexes.items()
        for queries, recall in (("image", one.image_recall), ("text", one.text_recall))
        if recall is not None
    ]
    yield m.INDEX_RECALL.family(recalls)
    yield m.INDEX_TARGET.family(((name,), one.recall_target) for name, one in indexes.items())


def _by_kind(
    live: Mapping[str, Mapping[QueryKind, LiveRecall]], value: Callable[[LiveRecall], int]
) -> Iterable[tuple[tuple[str, str], float]]:
    return [
        ((name, kind.value), value(by_kind.get(kind, LiveRecall())))
        for name, by_kind in live.items()
        for kind in QueryKind
    ]
