"""Served embeddings against the raw ONNX Runtime session, text and image: how much of the encoder's speed arrives."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.client import Client
from clipsearch.encoders.manifest import load_bundle
from clipsearch.encoders.preprocess import PillowPreprocessor
from clipsearch.encoders.tokenizer import BpeTokenizer
from clipsearch.v1 import embedding_pb2

from ..closed_loop import Measured, drive, spread
from ..context import Context
from ..figures import harmonic_rate, ratios, summarise
from ..models import random_bundle
from ..process import cpu_s, settle
from ..raw import Batch, RawSession, best_choice
from ..report import Line, Outcome
from ..server import Served, clipsearch
from ..wire import EMBED_IMAGE, EMBED_TEXT, frame
from ..workload import lengths, one_length_each, photographs, queries, repeated

TEXTS_IN_FLIGHT = 64
"""All of them different, as a server may compute texts that are the same once."""

IMAGES_IN_FLIGHT = 32

TARGET = 0.95
TEXT_SIZES = (1, 2, 4, 8, 16, 32, 64)
IMAGE_SIZES = (1, 2, 4, 8, 16, 32)

# Quantised activations share a scale across a batch, so int8 vectors move a little with their neighbours.
_SAME_COSINE = 0.98


@dataclass(frozen=True, slots=True)
class Job:
    """One tower to compare: what goes over the wire, and the same as the graph takes it."""

    name: str
    bundle: Path
    graph: Path
    method: str
    bodies: list[bytes]
    make_batches: Callable[[int], Sequence[Batch]]
    sizes: Sequence[int]
    batch_of: Sequence[int]
    """Which of the batches stands for each body."""
    in_flight: int
    seconds: float
    ask: Callable[[Client, int], NDArray[np.float32]]


@dataclass(slots=True)
class Rounds:
    """Per round: rates in items per second, CPU in cores."""

    raw: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    shares: list[list[float]] = field(default_factory=list)
    raw_cores: list[float] = field(default_factory=list)
    server_cores: list[float] = field(default_factory=list)
    generator_cores: list[float] = field(default_factory=list)
    idle_server_cores: list[float] = field(default_factory=list)

    def add(self, raw_rate: float, raw_cores: float, measured: Measured, idle_cores: float) -> None:
        """Append one round."""
        self.raw.append(raw_rate)
        self.raw_cores.append(raw_cores)
        self.served.append(measured.rate)
        self.shares.append(measured.shares)
        self.server_cores.append(measured.server_cores)
        self.generator_cores.append(measured.generator_cores)
        self.idle_server_cores.append(idle_cores)

    def ratios_by_core(self) -> list[float]:
        """Return served over raw, of what either does in a second of a core: the load's own cores do not count."""
        served, raw = (
            [rate / cores for rate, cores in zip(rates, cores_taken, strict=True)]
            for rates, cores_taken in ((self.served, self.server_cores), (self.raw, self.raw_cores))
        )
        return ratios(served, raw)


def text(context: Context) -> Outcome:
    """Queries of 4 to 12 words, 64 in flight."""
    return _section(context, "text", _text_job)


def image(context: Context) -> Outcome:
    """512 x 512 JPEGs, 32 in flight, decoded by the server; the raw session gets them decoded."""
    return _section(context, "image", _image_job)


def _section(context: Context, name: str, job_of: Callable[[Context, Path], Job]) -> Outcome:
    outcome = Outcome()
    for precision in context.precisions:
        context.say(f"{name} {precision}: preparing the model")
        job = job_of(context, random_bundle(context.work, precision, context.seed, context.tokenizer))
        rounds, settings = _compare(context, job, f"{name} {precision}")
        unit = f"{name}s/s"
        outcome.lines += [
            Line(name, f"{precision}: raw session", unit, summarise(rounds.raw)),
            Line(name, f"{precision}: served", unit, summarise(rounds.served)),
            Line(name, f"{precision}: served / raw", "x", summarise(ratios(rounds.served, rounds.raw)), TARGET),
            Line(name, f"{precision}: served / raw, by core taken", "x", summarise(rounds.ratios_by_core())),
        ]
        outcome.samples[precision] = {**settings, **asdict(rounds)}
    return outcome


def _compare(context: Context, job: Job, title: str) -> tuple[Rounds, dict[str, Any]]:
    """Let the raw session and the served model take turns; returns the rounds and what was chosen for them."""
    pace, rounds = context.pace, Rounds()
    load = spread(job.in_flight, job.seconds, pace.warm_up_s)
    with ExitStack() as stack:
        raw = stack.enter_context(RawSession())
        context.say(f"{title}: looking for the raw session's best batch")
        choice, tries = best_choice(
            raw,
            job.graph,
            make_batches=job.make_batches,
            sizes=job.sizes,
            seconds=pace.sweep_s,
            passes=pace.sweep_passes,
        )
        served = stack.enter_context(clipsearch(job.bundle, context.log(title)))
        _same_answers(job, raw, served)
        batches = job.make_batches(choice.batch)
        for number in range(pace.rounds):
            settle([served.pid, raw.pid])
            started, served_s, raw_s = time.monotonic(), cpu_s(served.pid), cpu_s(raw.pid)
            costs = raw.run(batches, job.seconds)
            took_s = time.monotonic() - started
            idle_cores, raw_cores = (cpu_s(served.pid) - served_s) / took_s, (cpu_s(raw.pid) - raw_s) / took_s
            settle([served.pid, raw.pid])
            measured = drive(served.url(job.method), job.bodies, load, served.pid)
            # The mix that was served decides: short queries finish sooner, so more of them are sent.
            shares = np.bincount(job.batch_of, measured.shares, minlength=len(costs)).tolist()
            rounds.add(harmonic_rate(costs, shares), raw_cores, measured, idle_cores)
            rates = f"raw {rounds.raw[-1]:.1f}/s, served {measured.rate:.1f}/s"
            context.say(f"{title}: round {number + 1} of {pace.rounds}, {rates}")
        _same_answers(job, raw, served)
    return rounds, {"raw_choice": asdict(choice), "raw_tries": tries, "load": asdict(load), "bodies": len(job.bodies)}


def _same_answers(job: Job, raw: RawSession, served: Served) -> None:
    """Raise RuntimeError unless the server computes what the raw session does."""
    with Client(served.address) as client:
        for number, batch in enumerate(job.make_batches(1)):
            i = job.batch_of.index(number)
            cosine = float(raw.compute(batch)[0] @ job.ask(client, i))
            if cosine < _SAME_COSINE:
                raise RuntimeError(f"{job.name} {i}: server and raw session disagree (cosine {cosine:.4f})")


def _text_job(context: Context, bundle: Path) -> Job:
    texts = queries(TEXTS_IN_FLIGHT, context.seed)
    tokenizer = BpeTokenizer.of(load_bundle(bundle))
    ids = [tokenizer(text).ids for text in texts]
    return Job(
        name="text",
        bundle=bundle,
        graph=bundle / "text.onnx",
        method=EMBED_TEXT,
        bodies=[frame(embedding_pb2.EmbedTextRequest(text=text)) for text in texts],
        # One length per batch: the raw session pays for no padding at all.
        make_batches=lambda size: one_length_each(ids, size),
        sizes=TEXT_SIZES,
        batch_of=[lengths(ids).index(len(row)) for row in ids],
        in_flight=TEXTS_IN_FLIGHT,
        seconds=context.pace.seconds,
        ask=lambda client, i: client.embed_text(texts[i]).vector,
    )


def _image_job(context: Context, bundle: Path) -> Job:
    pictures = photographs()
    loaded = load_bundle(bundle)
    decode = PillowPreprocessor(loaded.manifest.preprocess, loaded.manifest.image_size)
    pixels = [decode(picture) for picture in pictures]
    return Job(
        name="image",
        bundle=bundle,
        graph=bundle / "image.onnx",
        method=EMBED_IMAGE,
        bodies=[frame(embedding_pb2.EmbedImageRequest(image=picture)) for picture in pictures],
        # All pictures cost the same, so one batch of them stands for all.
        make_batches=lambda size: [repeated(pixels, size)],
        sizes=IMAGE_SIZES,
        batch_of=[0] * len(pictures),
        in_flight=IMAGES_IN_FLIGHT,
        seconds=context.pace.image_seconds,
        ask=lambda client, i: client.embed_image(pictures[i]).vector,
    )
