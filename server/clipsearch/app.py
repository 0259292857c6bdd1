"""The composition root: builds the parts from the settings, wires them, starts, warms up, drains."""

import asyncio
import functools
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from clipsearch.batching.lane import Lane
from clipsearch.batching.policy import BatchPolicy
from clipsearch.collection import Collection, open_collection
from clipsearch.encoders.load import Encoders, load_encoders
from clipsearch.encoders.manifest import Manifest
from clipsearch.encoders.preprocess import ImageLimits
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.errors import UnusableIndex
from clipsearch.rpc.embedding import EmbeddingServicer
from clipsearch.rpc.search import SearchServicer
from clipsearch.rpc.server import RpcOptions, RpcServer
from clipsearch.services.embed import EmbedService, ImageLane, TextLane, encode_batch
from clipsearch.services.limits import RequestLimits
from clipsearch.services.search import SearchLane, SearchService
from clipsearch.services.searcher import Searcher
from clipsearch.settings import Settings
from clipsearch.v1 import embedding_pb2

logger = logging.getLogger(__name__)

MOST_LONE_THREADS = 8
"""A short text has no work for more; every operator would only wait for more threads."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """The stages that batch; ``search`` is None without an index."""

    text: TextLane
    image: ImageLane
    search: SearchLane | None

    @property
    def all(self) -> list[TextLane | ImageLane | SearchLane]:
        """The lanes there are, in the order in which a request passes them."""
        return [lane for lane in (self.text, self.image, self.search) if lane is not None]


class App:
    """One server: ``start``, then ``stop`` or ``run`` until a signal."""

    def __init__(self, settings: Settings) -> None:
        """Load the models and the index; seconds, and no port is open yet.

        Raises UnusableBundle, UnusableIndex or DeviceUnavailable.
        """
        self.settings = settings
        self.encoders = _load_encoders(settings)
        self.collection = _load_collection(settings, self.encoders.manifest)
        self.lanes = _lanes(settings, self.encoders, self.collection)
        self._decoders = ThreadPoolExecutor(settings.decode_threads or settings.cores, thread_name_prefix="decode")
        self._server = self._rpc()
        self.port = 0

    def _rpc(self) -> RpcServer:
        settings, encoders, collection = self.settings, self.encoders, self.collection
        limits = RequestLimits(
            max_text_bytes=settings.max_text_bytes,
            max_top_k=settings.max_top_k,
            max_batch_items=settings.max_batch_items,
        )
        embed = EmbedService(
            tokenizer=encoders.tokenizer,
            preprocessor=encoders.preprocessor,
            text_lane=self.lanes.text,
            image_lane=self.lanes.image,
            decoders=self._decoders,
            limits=limits,
        )
        search = None
        if collection is not None and self.lanes.search is not None:
            search = SearchService(
                embed=embed,
                lane=self.lanes.search,
                items=collection,
                dimension=encoders.manifest.dimension,
                max_nprobe=collection.index.max_nprobe,
                limits=limits,
            )
        options = RpcOptions(settings.listen, settings.max_message_bytes, settings.max_concurrent_streams)
        embedding = EmbeddingServicer(embed, _model(encoders.manifest), settings.stream_window)
        return RpcServer(options, embedding, SearchServicer(search))

    async def start(self) -> None:
        """``listen``, then ``warm_up``."""
        await self.listen()
        await self.warm_up()

    async def listen(self) -> None:
        """Open the port, NOT_SERVING; raises ConfigError where it cannot be had."""
        self.port = await self._server.start()
        logger.info("listening on %s, port %d", self.settings.listen, self.port)

    async def warm_up(self) -> None:
        """Run the models once, open the lanes and report SERVING; where that raises, NOT_SERVING stands."""
        await asyncio.to_thread(self.encoders.warm_up)
        for lane in self.lanes.all:
            lane.start()
        await self._server.report(True, search=self.lanes.search is not None)
        logger.info("serving")

    async def stop(self) -> None:
        """Report NOT_SERVING, finish what was accepted within the grace period, end the lanes."""
        await self._server.stop(self.settings.grace_s)
        for lane in self.lanes.all:
            await lane.stop()
            logger.info("the %s lane did %d items in %d batches", lane.name, lane.counts.items, lane.counts.batches)
        self._decoders.shutdown()
        if self.collection is not None:
            self.collection.close()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal(number: int) -> None:
            logger.info("%s: draining for up to %g s", signal.Signals(number).name, self.settings.grace_s)
            # Back to the default action: whoever signals again does not want to wait.
            loop.remove_signal_handler(signal.SIGTERM)
            loop.remove_signal_handler(signal.SIGINT)
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)
        await self.listen()
        try:
            await self.warm_up()
        except Exception:
            # An operator finds the reason in log and health, rather than a process that restarts for ever.
            logger.exception("the warm-up failed: staying up, NOT_SERVING")
        await stopping.wait()
        await self.stop()
        logger.info("stopped")


def encoder_threads(settings: Settings) -> int:
    """CPU threads of one encoder run: a quarter of the cores, so that several batches run side by side.

    Threads inside a run meet at a barrier after every operator, batches side by side never do, so many narrow runs do
    more than one wide run.
    """
    return settings.encoder_threads or max(1, settings.cores // 4)


def lone_threads(settings: Settings) -> int:
    """CPU threads of a run that has its tower to itself: all cores, for the sake of one caller's latency."""
    return settings.lone_threads or min(settings.cores, MOST_LONE_THREADS)


def encoder_workers(settings: Settings, encoders: Encoders) -> int:
    """Workers of each encoder lane: enough for all cores on a CPU, one on a GPU, which runs one batch at a time.

    One as well for small towers: there, fewer and larger batches serve more.
    """
    if settings.encoder_workers:
        return settings.encoder_workers
    if encoders.device == "cuda" or encoders.small:
        return 1
    return max(1, settings.cores // encoder_threads(settings))


def _load_encoders(settings: Settings) -> Encoders:
    options = RuntimeOptions(
        device=settings.device, threads=encoder_threads(settings), lone_threads=lone_threads(settings)
    )
    limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    return load_encoders(settings.bundle, options, limits)


def _load_collection(settings: Settings, manifest: Manifest) -> Collection | None:
    if settings.index is None:
        return None
    collection = open_collection(settings.index, device=settings.device, threads=settings.search_threads or None)
    if collection.model_hash not in {None, manifest.weight_hash}:
        raise UnusableIndex(
            f"the index {settings.index} was built with another model (weights {collection.model_hash}) "
            f"than the bundle {settings.bundle} (weights {manifest.weight_hash})"
        )
    if collection.index.dimension != manifest.dimension:
        raise UnusableIndex(
            f"the index {settings.index} holds vectors of {collection.index.dimension} components, "
            f"the bundle {settings.bundle} makes {manifest.dimension}"
        )
    return collection


def _lanes(settings: Settings, encoders: Encoders, collection: Collection | None) -> Lanes:
    def policy(max_items: int, max_cost: int, overhead: int = 0) -> BatchPolicy:
        return BatchPolicy(
            max_items, max_cost, overhead, bulk_share=settings.bulk_share, max_delay_s=settings.max_batch_delay_ms / 1e3
        )

    text_policy = policy(settings.text_batch_items, settings.text_batch_tokens, settings.text_batch_overhead_tokens)
    image_policy = policy(settings.image_batch_items, settings.image_batch_items)
    search_policy = policy(settings.search_batch_items, settings.search_batch_items)
    capacity, workers = settings.lane_capacity, encoder_workers(settings, encoders)
    searcher = None if collection is None else Searcher(collection.index)
    run_text = functools.partial(encode_batch, encoders.text.encode, searcher)
    run_image = functools.partial(encode_batch, encoders.image.encode, searcher)
    return Lanes(
        text=Lane("text", run_text, text_policy, capacity=capacity, workers=workers),
        image=Lane("image", run_image, image_policy, capacity=capacity, workers=workers),
        search=None if searcher is None else Lane("search", searcher.lookup, search_policy, capacity=capacity),
    )


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
