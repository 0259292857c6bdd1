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
from clipsearch.decoding import Decoding, image_limits
from clipsearch.encoders.load import Encoders, load_encoders
from clipsearch.encoders.manifest import Manifest
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Training
from clipsearch.lanes import encoder_threads, lone_threads, wire_lanes
from clipsearch.rpc.catalogue import CatalogueServicer
from clipsearch.rpc.embedding import EmbeddingServicer
from clipsearch.rpc.generators import AsGenerators
from clipsearch.rpc.observed import Observation
from clipsearch.rpc.operations import OperationsServicer
from clipsearch.rpc.search import SearchServicer
from clipsearch.rpc.server import RpcOptions, RpcServer
from clipsearch.services.build_index import Derivation, TextEmbedder
from clipsearch.services.build_report import Report
from clipsearch.services.catalogue import CatalogueService
from clipsearch.services.embed import EmbedService
from clipsearch.services.facets import FacetService
from clipsearch.services.imports import Importer
from clipsearch.services.jobs import Jobs
from clipsearch.services.limits import RequestLimits
from clipsearch.services.operations import Operations
from clipsearch.services.recall import RecallMonitor
from clipsearch.services.search import SearchService
from clipsearch.settings import Settings
from clipsearch.telemetry.assembly import Telemetry
from clipsearch.telemetry.collector import Sources
from clipsearch.v1 import embedding_pb2
from clipsearch.watchdog import Watchdog

if TYPE_CHECKING:
    from clipsearch.telemetry.tracing import Tracing

logger = logging.getLogger(__name__)


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
        self.encoders = _load_encoders(settings)
        self.data = _open_data(settings, self.encoders)
        self.recall = RecallMonitor(settings.recall_sample)
        self.lanes = wire_lanes(settings, self.encoders, self.data, self.recall, self.telemetry)
        self.operations = Operations()
        self.decoding = Decoding(settings, self.encoders)
        self._facets: FacetService | None = None
        self._server = self._rpc()
        self._watching: asyncio.Task[None] | None = None
        self.port = self.metrics_port = 0

    def _rpc(self) -> RpcServer:
        settings, encoders, lanes, data = self.settings, self.encoders, self.lanes, self.data
        limits = RequestLimits(
            max_text_bytes=settings.max_text_bytes,
            max_top_k=settings.max_top_k,
            max_search_depth=settings.max_search_depth,
            max_batch_items=settings.max_batch_items,
        )
        embed = EmbedService(
            tokenizer=encoders.tokenizer,
            preprocessor=self.decoding.preprocess,
            text_lane=lanes.text,
            image_lane=lanes.image,
            preparation=Preparation(self.decoding.threads, self.decoding.count, bulk_share=settings.bulk_share),
            limits=limits,
            observers=self.telemetry.preprocess,
        )
        search = catalogue = jobs = None
        dimension = encoders.manifest.dimension
        if data is not None and lanes.search is not None and lanes.write is not None:
            search = SearchService(embed=embed, lane=lanes.search, data=data, dimension=dimension, limits=limits)
            catalogue = CatalogueService(
                embed=embed, lane=lanes.write, data=data, recall=self.recall, dimension=dimension, limits=limits
            )
            self._facets = FacetService(data)
            jobs = Jobs(
                operations=self.operations,
                data=data,
                rebuild=functools.partial(_rebuild, data),
                importer=Importer(
                    data=data,
                    write=lanes.write,
                    images=lanes.image,
                    preprocessor=self.decoding.preprocess,
                    dimension=dimension,
                    weight_hash=encoders.manifest.weight_hash,
                    threads=max(1, settings.cores // 4),
                ),
                snapshots=settings.snapshots,
                imports=settings.imports,
                exports=settings.exports,
            )
        return RpcServer(
            RpcOptions(
                settings.listen,
                max_message_bytes=settings.max_message_bytes,
                max_metadata_bytes=settings.max_metadata_bytes,
                max_concurrent_streams=settings.max_concurrent_streams,
                certificates=self.admittance.certificates,
                gate=self.admittance.gate,
                reflection=settings.reflection,
            ),
            EmbeddingServicer(embed, _model(encoders.manifest), settings.stream_window),
            SearchServicer(search),
            CatalogueServicer(catalogue, self._facets, jobs),
            OperationsServicer(self.operations),
            observation=Observation(self.telemetry.requests, settings.caller_header),
            interceptors=[tracing.interceptor(), AsGenerators()] if (tracing := self.telemetry.tracing) else [],
        )

    async def start(self) -> None:
        """``listen``, then ``warm_up``."""
        await self.listen()
        await self.warm_up()

    async def listen(self) -> None:
        """Open the ports, NOT_SERVING; raises ConfigError where one cannot be had."""
        sources = Sources(
            self.encoders, self.lanes.all, self.operations, self.recall, self.data, lambda: self._server.serving
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
        if self.data is not None:
            self.data.stop_rebuilding()
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
        if self.data is not None:
            await asyncio.to_thread(self.data.save_indexes, ends - time.monotonic())
            await asyncio.to_thread(self.data.close)
        await self.telemetry.stop()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

        SIGHUP reads the certificates and the keys again.
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
        loop.add_signal_handler(signal.SIGHUP, self.admittance.reload)
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


def _load_encoders(settings: Settings) -> Encoders:
    options = RuntimeOptions(
        device=settings.device, threads=encoder_threads(settings), lone_threads=lone_threads(settings)
    )
    return load_encoders(settings.bundle, options, image_limits(settings))


def _open_data(settings: Settings, encoders: Encoders) -> DataDirectory | None:
    if settings.data is None:
        return None
    manifest = encoders.manifest
    derive = Derivation(
        TextEmbedder(encoders.tokenizer, encoders.text),
        # Half of the cores: the others serve.
        threads=settings.search_threads or max(1, settings.cores // 2),
        recall_target=settings.recall_target,
    )
    options = CollectionOptions(
        dimension=manifest.dimension,
        model_hash=manifest.weight_hash,
        derive=derive,
        device=settings.device,
        threads=settings.search_threads or None,
    )
    return DataDirectory(settings.data, options)


def _rebuild(data: DataDirectory, collection: str, report: Report, training: Training) -> IndexManifest:
    return data.collection(collection).rebuild(report, training)


def _model(manifest: Manifest) -> embedding_pb2.Model:
    return embedding_pb2.Model(
        source=manifest.source,
        weight_hash=manifest.weight_hash,
        dimension=manifest.dimension,
        context_length=manifest.context_length,
        image_size=manifest.image_size,
        precision=manifest.precision,
        logit_scale=manifest.logit_scale,
    )
