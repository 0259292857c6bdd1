"""Latency on an idle server: one text at a time through the Python client, against one raw call at batch 1.

And against a bare servicer that makes the same call itself, which is what gRPC for Python alone adds to it; served as
it is by default, and without a front process.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clipsearch.client import Client
from clipsearch.encoders.manifest import load_bundle
from clipsearch.encoders.tokenizer import BpeTokenizer

from ..context import Context
from ..figures import percentile, summarise
from ..models import random_bundle
from ..process import settle
from ..raw import RawSession, best_choice
from ..report import Line, Outcome
from ..server import bare, clipsearch
from ..workload import captions, queries

FACTOR, ALLOWANCE_MS = 1.1, 1.0
LIMIT = f"({FACTOR:g} raw + {ALLOWANCE_MS:g} ms)"
KINDS = 8

RAW, BARE, SERVED, ALONE = "raw call", "bare servicer", "served", "served without a front"
"""Who answers. ``ALONE`` takes its calls in itself, which saves a lone one the way through another process."""


def _by_side() -> dict[str, list[float]]:
    return {side: [] for side in (RAW, BARE, SERVED, ALONE)}


@dataclass(slots=True)
class Rounds:
    """Latencies in milliseconds by who answers: all of them, and each round's median."""

    ms: dict[str, list[float]] = field(default_factory=_by_side)
    p50_ms: dict[str, list[float]] = field(default_factory=_by_side)

    def close(self, calls: int) -> None:
        """Take the medians of the last ``calls`` of each side."""
        for side, all_ms in self.ms.items():
            self.p50_ms[side].append(percentile(all_ms[-calls:], 0.5))


def idle(context: Context) -> Outcome:
    """Measure full-size models of each precision and the sample model."""
    outcome = Outcome()
    for name, bundle, texts in _models(context):
        context.say(f"idle {name}")
        rounds = _alternate(context, bundle, texts, name)
        raw, served = rounds.p50_ms[RAW], rounds.p50_ms[SERVED]
        allowed = [FACTOR * value + ALLOWANCE_MS for value in raw]
        shares = [value / limit for value, limit in zip(served, allowed, strict=True)]
        outcome.lines += [
            Line("idle", f"{name}: {side} p50", "ms", summarise(medians), better="lower")
            for side, medians in rounds.p50_ms.items()
        ]
        outcome.lines.append(
            Line("idle", f"{name}: served p50 / {LIMIT}", "x", summarise(shares), target=1.0, better="lower")
        )
        outcome.samples[name] = asdict(rounds)
    return outcome


def _models(context: Context) -> Iterator[tuple[str, Path, list[str]]]:
    for precision in context.precisions:
        bundle = random_bundle(context.work, precision, context.seed, context.tokenizer)
        yield f"ViT-B/32 {precision}", bundle, queries(KINDS, context.seed)
    if (context.sample_bundle / "manifest.json").is_file():
        yield "sample model", context.sample_bundle, captions(KINDS, context.seed, full=False)
    else:
        context.say(f"idle: {context.sample_bundle} is no bundle, so the sample model is left out")


def _alternate(context: Context, bundle: Path, texts: list[str], name: str) -> Rounds:
    rounds, pace = Rounds(), context.pace
    tokenizer = BpeTokenizer.of(load_bundle(bundle))
    batches = [tokenizer(text).ids[None] for text in texts]
    with ExitStack() as stack:
        raw = stack.enter_context(RawSession())
        graph = bundle / "text.onnx"
        best_choice(
            raw, graph, make_batches=lambda _: batches, sizes=(1,), seconds=pace.sweep_s, passes=pace.sweep_passes
        )
        servers = {
            BARE: stack.enter_context(bare(context.log(f"idle bare {name}"), bundle)),
            SERVED: stack.enter_context(clipsearch(bundle, context.log(f"idle {name}"))),
            ALONE: stack.enter_context(clipsearch(bundle, context.log(f"idle alone {name}"), flags=("--fronts", "0"))),
        }
        clients = {side: stack.enter_context(Client(server.address)) for side, server in servers.items()}
        for client in clients.values():
            for text in texts:
                client.embed_text(text)
        for _ in range(pace.rounds):
            settle([raw.pid, *(server.pid for server in servers.values())])
            for _ in range(pace.idle_calls // len(texts)):
                rounds.ms[RAW] += [1e3 * seconds for seconds in raw.latencies(batches)]
                time.sleep(0.05)  # the raw session's threads may spin on for a while
                for side, client in clients.items():
                    rounds.ms[side] += [_timed_ms(client, text) for text in texts]
            rounds.close(pace.idle_calls // len(texts) * len(texts))
    return rounds


def _timed_ms(client: Client, text: str) -> float:
    started = time.perf_counter()
    client.embed_text(text)
    return 1e3 * (time.perf_counter() - started)
