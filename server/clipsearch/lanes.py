"""The lanes of one server: which encoder sessions run, how wide, and what they feed."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clipsearch.batching.admission import UNBOUNDED
from clipsearch.batching.lane import Lane
from clipsearch.batching.policy import BatchPolicy
from clipsearch.encoders.load import Encoders
from clipsearch.errors import ClipsearchError
from clipsearch.ports import Pixels, TokenIds
from clipsearch.services.catalogue import WriteLane, write_batch
from clipsearch.services.embed import Encode, Encoded, ImageLane, TextLane, encode_batch, searched_s
from clipsearch.services.search import SearchLane
from clipsearch.services.searcher import Lookup, Neighbours
from clipsearch.services.serving import Model, run_by_model
from clipsearch.settings import MIB, Settings
from clipsearch.telemetry.assembly import Telemetry
from clipsearch.telemetry.meters import Stage

MOST_LONE_THREADS = 8
"""A short text has no work for more; every operator would only wait for more threads."""

IN_FLIGHT_ON_GPU = 2
"""Batches of one tower: one is computed while the next is staged, which made two fifths more of large ones on an H200
(`benchmarks/results/gpu/encoders.json`, "two in flight")."""

WRITES, WRITE_ITEMS = 256, 4096
"""Most calls, and most items, that share one transaction: enough for a disk flush not to count, and few enough for
nobody to wait long for the others."""


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Most tokens of a batch of texts, and most pictures of one."""

    text_tokens: int
    image_items: int


FOR_EACH_THREAD = BatchSizes(192, 4)
"""What a batch holds for each thread of its run on a CPU. Larger ones do next to nothing more there, and everybody in a
batch waits for all of it (decision 13)."""

OF_TINY_TOWERS = BatchSizes(512, 8)
"""On a CPU however many threads: beside handing a batch over, what it computes is little."""

ON_GPU = BatchSizes(4096, 64)
"""Some thousand rows at once are what keeps a GPU busy (docs/gpu.md)."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """The stages that batch; ``search`` and ``write`` are None without a data directory."""

    text: TextLane
    image: ImageLane
    search: SearchLane | None
    write: WriteLane | None

    @property
    def all(self) -> list[TextLane | ImageLane | SearchLane | WriteLane]:
        """The lanes there are, in the order in which a request passes them."""
        return [lane for lane in (self.text, self.image, self.search, self.write) if lane is not None]


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
    """Workers of each encoder lane: enough for all cores on a CPU, two on a GPU.

    One for small towers on a CPU, if this process takes calls in as well: there, fewer and larger batches serve more.
    """
    if settings.encoder_workers:
        return settings.encoder_workers
    if encoders.device == "cuda":
        return IN_FLIGHT_ON_GPU
    if encoders.small and not settings.front_processes:
        return 1
    return max(1, settings.cores // encoder_threads(settings))


def batch_sizes(settings: Settings, device: Literal["cpu", "cuda"], *, small: bool) -> BatchSizes:
    """Return how large batches are on a device, of ``small`` towers or of others: as set, or as pays there."""
    threads = encoder_threads(settings)
    wide = BatchSizes(threads * FOR_EACH_THREAD.text_tokens, threads * FOR_EACH_THREAD.image_items)
    pays = ON_GPU if device == "cuda" else OF_TINY_TOWERS if small else wide
    return BatchSizes(settings.text_batch_tokens or pays.text_tokens, settings.image_batch_items or pays.image_items)


def wire_lanes(settings: Settings, encoders: Encoders, telemetry: Telemetry, *, with_data: bool) -> Lanes:
    """Make the lanes, not started; without data, those that embed alone.

    They run every item with its own model; ``encoders``, those of the first one, decide how many workers there are, how
    large batches are and what padding costs.
    """

    def policy(max_items: int, max_cost: int, overhead: int = 0, padding_cost: float = 1.0) -> BatchPolicy:
        return BatchPolicy(
            max_items,
            max_cost,
            overhead,
            bulk_share=settings.bulk_share,
            max_delay_s=settings.max_batch_delay_ms / 1e3,
            padding_cost=padding_cost,
        )

    sizes = batch_sizes(settings, encoders.device, small=encoders.small)
    text_policy = policy(
        settings.text_batch_items,
        sizes.text_tokens,
        settings.text_batch_overhead_tokens,
        encoders.text.padding_cost,
    )
    image_policy = policy(sizes.image_items, sizes.image_items)
    search_policy = policy(settings.search_batch_items, settings.search_batch_items)
    run_text = functools.partial(run_by_model, _encode_texts)
    run_image = functools.partial(run_by_model, _encode_images)
    run_search = functools.partial(run_by_model, _look_up)

    def lane(name: str, run: Any, policy: BatchPolicy, stage: Stage, max_bytes: int = UNBOUNDED) -> Lane[Any, Any]:
        workers = encoder_workers(settings, encoders) if stage == "encode" else 1
        observers = telemetry.lane(name, policy, stage, searched_s if stage == "encode" else None)
        return Lane(
            name,
            run,
            policy,
            capacity=settings.lane_capacity,
            max_bytes=max_bytes,
            workers=workers,
            observers=observers,
        )

    return Lanes(
        text=lane("text", run_text, text_policy, "encode"),
        image=lane("image", run_image, image_policy, "encode", settings.image_lane_mib * MIB),
        search=lane("search", run_search, search_policy, "search") if with_data else None,
        write=lane("write", write_batch, policy(WRITES, WRITE_ITEMS), "write") if with_data else None,
    )


def _encode_texts(model: Model, batch: Sequence[Encode[TokenIds]]) -> Sequence[Encoded | ClipsearchError]:
    return encode_batch(model.text.encode, model.searcher, batch)


def _encode_images(model: Model, batch: Sequence[Encode[Pixels]]) -> Sequence[Encoded | ClipsearchError]:
    return encode_batch(model.image.encode, model.searcher, batch)


def _look_up(model: Model, batch: Sequence[Lookup]) -> Sequence[Neighbours | ClipsearchError]:
    assert model.searcher is not None, "there is a search lane only where there are collections"
    return model.searcher.lookup(batch)
