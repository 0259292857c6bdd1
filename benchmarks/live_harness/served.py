"""A data directory with the lanes in front of it, put together as ``clipsearch.app`` does for a server on a CPU.

gRPC and the encoders are left out: ``benchmarks/serving.py`` measures those.
"""

import functools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.live_harness.context import Context, Float32
from clipsearch.batching.lane import Lane
from clipsearch.batching.policy import BatchPolicy
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import Collection, CollectionOptions
from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.index.build import IndexOptions
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Training
from clipsearch.index.threads import available_cores
from clipsearch.lanes import WRITE_ITEMS, WRITES
from clipsearch.services.build_index import TextQueries, derive_index
from clipsearch.services.build_report import RejectLog, Report, Tally
from clipsearch.services.catalogue import WriteLane, write_batch
from clipsearch.services.recall import RecallMonitor
from clipsearch.services.searcher import Lookup, Neighbours, Searcher
from clipsearch.settings import Settings

MODEL = "clustered"
"""What the catalogue notes as the model of its vectors."""


@dataclass(frozen=True, slots=True)
class Served:
    """The default collection and its lanes, started."""

    data: DataDirectory
    search: Lane[Lookup, Neighbours]
    write: WriteLane

    @property
    def collection(self) -> Collection:
        """The one that is measured."""
        return self.data.collection(DEFAULT)


def options(context: Context, texts: Float32, *, rebuild_by_itself: bool = False) -> CollectionOptions:
    """As a server opens its collections; rebuilds come when a section asks for one, unless ``rebuild_by_itself``."""
    return CollectionOptions(
        dimension=context.d,
        model_hash=MODEL,
        derive=functools.partial(_derive, texts),
        device="cpu",
        rebuild_by_itself=rebuild_by_itself,
    )


def _derive(
    texts: Float32, directory: Path, reader: CatalogueReader, report: Report, training: Training
) -> IndexManifest:
    """Build on half of the cores, as a server does, with texts that are vectors already."""
    queries = TextQueries("clustered texts", lambda: texts)
    build = IndexOptions(threads=max(1, available_cores() // 2), training=training)
    with RejectLog(directory, Tally()) as rejects:
        return derive_index(directory, reader, queries=queries, options=build, report=report, rejects=rejects)[0]


@contextmanager
def opened(context: Context, texts: Float32, *, rebuild_by_itself: bool = False) -> Iterator[DataDirectory]:
    """Open the data directory, and close it at the end."""
    data = DataDirectory(context.data, options(context, texts, rebuild_by_itself=rebuild_by_itself))
    try:
        yield data
    finally:
        data.close()


@asynccontextmanager
async def served(data: DataDirectory) -> AsyncIterator[Served]:
    """Start the lanes in front of a data directory, on the running event loop."""
    defaults = Settings.model_fields
    batch, capacity = defaults["search_batch_items"].default, defaults["lane_capacity"].default
    monitor = RecallMonitor(defaults["recall_sample"].default)
    searcher = Searcher(data, monitor)
    search: Lane[Lookup, Neighbours] = Lane("search", searcher.lookup, BatchPolicy(batch, batch), capacity=capacity)
    write: WriteLane = Lane("write", write_batch, BatchPolicy(WRITES, WRITE_ITEMS), capacity=capacity)
    search.start()
    write.start()
    try:
        yield Served(data, search, write)
    finally:
        await search.stop()
        await write.stop()
        monitor.stop()
