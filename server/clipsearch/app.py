"""The composition root: builds the parts from the settings, wires them, starts, warms up, drains."""

import asyncio
import functools
import logging
import signal
import time
from typing import TYPE_CHECKING

from clipsearch import garbage
from clipsearch.admittance import Admittance
from clipsearch.batching.preparation import Preparation
from clipsearch.collection import CollectionOptions
from clipsearch.data import DataDirectory
from clipsearch.decoding import Decoding
from clipsearch.encoders.load import Encoders
from clipsearch.index.gpu import Gpus
from clipsearch.lanes import wire_lanes
from clipsearch.model_swap import ModelSwap
from clipsearch.models import Models
from clipsearch.rpc.catalogue import CatalogueServicer
from clipsearch.rpc.embedding import EmbeddingServicer
from clipsearch.rpc.generators import AsGenerators
from clipsearch.rpc.model import ModelServicer
from clipsearch.rpc.observed import Observation
from clipsearch.rpc.operations import OperationsServicer
from clipsearch.rpc.search import SearchServicer
from clipsearch.rpc.server import RpcServer
from clipsearch.rpc.transport import TransportLimits, TransportOptions
from clipsearch.services.build_index import Derivation, TextEmbedder
from clipsearch.services.catalogue import CatalogueService
from clipsearch.services.embed import EmbedService
from clipsearch.services.facets import FacetService
from clipsearch.services.imports import Importer
from clipsearch.services.jobs import Jobs
from clipsearch.services.limits import RequestLimits
from clipsearch.services.model_jobs import ModelJobs
from clipsearch.services.operations import Operations
from clipsearch.services.query_cache import QueryCache
from clipsearch.services.recall import RecallMonitor
from clipsearch.services.search import SearchService
from clipsearch.services.searcher import Searcher
from clipsearch.settings import MIB, Settings
from clipsearch.telemetry.assembly import Telemetry
from clipsearch.telemetry.collector import Sources
from clipsearch.watchdog import Watchdog

if TYPE_CHECKING:
    from clipsearch.telemetry.tracing import Tracing

logger = logging.getLogger(__name__)

AGAIN_S = 0.2
"""How soon a bundle is read that could not be because another job about the model ran, in seconds."""


class App:
    """One server: ``start``, then ``stop`` or ``run`` until a signal."""

    def __init__(self, settings: Settings, tracing: "Tracing | None" = None) -> None:
        """Load the models and open the collections; seconds, and no port is open yet.

        ``tracing`` is used instead of what the settings say. Raises UnusableBundle, UnusableIndex, DeviceUnavailable
        or ConfigError.
        """
        self.settings = settings
        # First, since it is quick and what is wrong with it should be told before the models are read.
        self.admittance = Admittance(settings)
        self.telemetry = Telemetry(settings, tracing)
        self.recall = RecallMonitor(settings.recall_sample)
        self.decoding = Decoding(settings)
        self.models = Models(
            settings,
            self.decoding,
            data=functools.partial(_open_data, settings),
            searcher=lambda data: Searcher(data, self.recall),
            adapt=lambda data, encoders: data.use(_collection_options(settings, encoders)),
        )
        self.lanes = wire_lanes(settings, self.encoders, self.telemetry, with_data=self.data is not None)
        self.operations = Operations()
        self.queries = QueryCache(settings.query_cache_mib * MIB)
        swap = ModelSwap(
            self.models,
            open_data=lambda root, encoders: DataDirectory(root, _collection_options(settings, encoders)),
            # Whoever tries what is staged is not counted among those who search what serves.
            searcher=lambda data: Searcher(data, RecallMonitor(0.0)),
        )
        self.model_jobs = ModelJobs(self.operations, swap, settings.bundles)
        self._facets: FacetService | None = None
        self._server = self._rpc()
        self._watching: asyncio.Task[None] | None = None
        self.port = self.metrics_port = 0

    @property
    def encoders(self) -> Encoders:
        """Those of the model that serves now."""
        return self.models.encoders

    @property
    def data(self) -> DataDirectory | None:
        """The collections that are served now, None where there are none."""
        return self.models.serving.model.data

    @property
    def _directories(self) -> list[DataDirectory]:
        """The collections that are open: those that serve, and those of a staged model."""
        models = (self.models.serving.model, self.models.serving.staged)
        return [model.data for model in models if model is not None and model.data is not None]

    def _rpc(self) -> RpcServer:
        settings, lanes, serving = self.settings, self.lanes, self.models.serving
        limits = RequestLimits(
            max_text_bytes=settings.max_text_bytes,
            max_top_k=settings.max_top_k,
            max_search_depth=settings.max_search_depth,
            max_batch_items=settings.max_batch_items,
        )
        embed = EmbedService(
            serving=serving,
            text_lane=lanes.text,
            image_lane=lanes.image,
            preparation=Preparation(self.decoding.threads, self.decoding.count, bulk_share=settings.bulk_share),
            queries=self.queries,
            limits=limits,
            observers=self.telemetry.preprocess,
        )
        search = catalogue = jobs = None
        if lanes.search is not None and lanes.write is not None:
            search = SearchService(embed=embed, lane=lanes.search, serving=serving, limits=limits)
            catalogue = CatalogueService(
                embed=embed, lane=lanes.write, serving=serving, recall=self.recall, limits=limits
            )
            self._facets = FacetService(serving)
            threads = max(1, settings.cores // 4)
            jobs = Jobs(
                operations=self.operations,
                serving=serving,
                importer=Importer(serving=serving, write=lanes.write, images=lanes.image, threads=threads),
                snapshots=settings.snapshots,
                imports=settings.imports,
                exports=settings.exports,
            )
        return RpcServer(
            TransportOptions(
                settings.listen,
                TransportLimits(
                    settings.max_message_bytes, settings.max_metadata_bytes, settings.max_concurrent_streams
                ),
                certificates=self.admittance.certificates,
                gate=self.admittance.gate,
                fronts=settings.front_processes,
                event_loop=settings.event_loop,
            ),
            EmbeddingServicer(embed, settings.stream_window),
            SearchServicer(search),
            CatalogueServicer(catalogue, self._facets, jobs),
            ModelServicer(self.model_jobs),
            operations=OperationsServicer(self.operations),
            observation=Observation(self.telemetry.requests, settings.caller_header),
            interceptors=[tracing.interceptor(), AsGenerators()] if (tracing := self.telemetry.tracing) else [],
            reflects=settings.reflection,
        )

    async def start(self) -> None:
        """``listen``, then ``warm_up``."""
        await self.listen()
        await self.warm_up()

    async def listen(self) -> None:
        """Open the ports, NOT_SERVING; raises ConfigError where one cannot be had."""
        sources = Sources(
            encoders=lambda: self.encoders,
            lanes=self.lanes.all,
            operations=self.operations,
            recall=self.recall,
            queries=self.queries,
            data=lambda: self.data,
            serving=lambda: self._server.serving,
            decoders=self.decoding.pids,
            fronts=self._server.fronts,
        )
        self.metrics_port = self.telemetry.start(sources)
        self.port = await self._server.start()
        logger.info("listening on %s, port %d", self.settings.listen, self.port)
        if self.metrics_port:
            logger.info("metrics on %s, port %d", self.settings.metrics_listen, self.metrics_port)

    async def warm_up(self) -> None:
        """Run the models once, open the lanes and report SERVING; where that raises, NOT_SERVING stands."""
        await asyncio.to_thread(self.decoding.start)
        await asyncio.to_thread(self.encoders.warm_up)
        for lane in self.lanes.all:
            lane.start()
        await self._report(True)
        logger.info("serving")
        if self.settings.stuck_after_s:
            lanes = {lane.name: lane.running_s for lane in self.lanes.all}
            watchdog = Watchdog(lanes, self.settings.stuck_after_s, self._report)
            self._watching = asyncio.create_task(watchdog.watch())
        if self.data is not None:
            self.data.rebuild_where_due()

    def _hang_up(self) -> None:
        self.admittance.reload()
        if self._server.serving:
            self._read_bundle()
        else:
            logger.warning("the bundle is not read again: the server is not serving")

    def _read_bundle(self) -> None:
        if not self.model_jobs.hang_up():
            asyncio.get_running_loop().call_later(AGAIN_S, self._read_bundle)

    async def _report(self, serving: bool) -> None:
        await self._server.report(serving, search=self.lanes.search is not None)

    async def stop(self) -> None:
        """Report NOT_SERVING, finish what was accepted within the grace period, end the lanes.

        Rebuilds stop first: they are long, and what they make can be made again. What is left of the grace period may
        go to indexes that make the next start quick.
        """
        ends = time.monotonic() + self.settings.grace_s
        if self._watching is not None:
            self._watching.cancel()
        for data in self._directories:
            data.stop_rebuilding()
        await self._server.stop(self.settings.grace_s)
        # While the lanes work: an import waits for them.
        await asyncio.to_thread(self.operations.close)
        for lane in self.lanes.all:
            await lane.stop()
            logger.info("the %s lane did %d items in %d batches", lane.name, lane.counts.items, lane.counts.batches)
        self.decoding.stop()
        if self._facets is not None:
            await asyncio.to_thread(self._facets.stop)
        await asyncio.to_thread(self.recall.stop)
        for data in self._directories:
            await asyncio.to_thread(data.save_indexes, ends - time.monotonic())
            await asyncio.to_thread(data.close)
        await self.telemetry.stop()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

        SIGHUP reads the certificates, the keys and the bundle again.
        """
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal(number: int) -> None:
            logger.info("%s: draining for up to %g s", signal.Signals(number).name, self.settings.grace_s)
            # Back to the default action: whoever signals again does not want to wait.
            for one in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(one)
                # Python's own for SIGINT would wait for the threads that still work.
                signal.signal(one, signal.SIG_DFL)
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        await self.listen()
        try:
            await self.warm_up()
            garbage.spare_what_stays()
        except Exception:
            # An operator finds the reason in log and health, rather than a process that restarts for ever.
            logger.exception("the warm-up failed: staying up, NOT_SERVING")
        await stopping.wait()
        await self.stop()
        logger.info("stopped")


def _open_data(settings: Settings, encoders: Encoders) -> DataDirectory | None:
    return None if settings.data is None else DataDirectory(settings.data, _collection_options(settings, encoders))


def _collection_options(settings: Settings, encoders: Encoders) -> CollectionOptions:
    derive = Derivation(
        TextEmbedder(encoders.tokenizer, encoders.text),
        # Half of the cores: the others serve.
        threads=settings.search_threads or max(1, settings.cores // 2),
        recall_target=settings.recall_target,
        device=settings.device,
    )
    return CollectionOptions(
        dimension=encoders.manifest.dimension,
        model_hash=encoders.manifest.weight_hash,
        derive=derive,
        device=settings.device,
        threads=settings.search_threads or None,
        gpus=Gpus(settings.index_gpus, settings.index_split),
    )
