"""Search on the sample model against a bare grpc.aio servicer: what everything but the transport costs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from random import Random

from clipsearch.encoders.manifest import load_bundle
from clipsearch.v1 import common_pb2, search_pb2

from ..closed_loop import Load, Measured, drive
from ..context import Context
from ..figures import ratios, summarise
from ..models import sample
from ..process import settle
from ..report import Line, Outcome
from ..server import Served, bare, clipsearch
from ..wire import SEARCH, frame
from ..workload import captions, unit_vectors

TARGETS = {"text": 0.5, "vector": 0.6}
Setting = tuple[int, int]
"""Connections, and requests in flight on each."""

SETTINGS: tuple[Setting, ...] = ((4, 4), (4, 8), (4, 16), (16, 4), (4, 32), (4, 64), (16, 16))
QUERIES = max(connections * streams for connections, streams in SETTINGS)
"""No two that are the same at once: a server may compute what is the same in a batch once."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One kind of request to one server."""

    side: str
    kind: str
    server: Served
    bodies: list[bytes]

    @property
    def name(self) -> str:
        """Which it is."""
        return f"{self.side}, {self.kind}"


Swept = tuple[Contender, Setting, float]
"""Who it was, how it was asked, and requests per second."""


def search(context: Context) -> Outcome:
    """Sweep the client's settings, then take turns, each contender at the one where it is fastest.

    What is compared is what each can do: which number in flight it takes to do it is the contender's own. The bare
    servicer is as fast with 16 in flight as with 64, batches are not.
    """
    ready = sample(context.work, context.sample_bundle, context.pace.catalogue_items, context.seed)
    dimension = load_bundle(ready.bundle).manifest.dimension
    spoken = texts(context.seed, QUERIES)
    bodies = {"text": [by_text(text) for text in spoken], "vector": by_vector(dimension, context.seed, QUERIES)}
    with ExitStack() as stack:
        bare_server = stack.enter_context(bare(context.log("bare")))
        served = stack.enter_context(clipsearch(ready.bundle, context.log("search"), data=ready.data))
        contenders = [
            Contender(side, kind, server, bodies[kind])
            for kind in TARGETS
            for side, server in (("bare", bare_server), ("served", served))
        ]
        swept = [run for each in contenders for run in _sweep(context, each)]
        best = {each.name: _fastest(swept, each) for each in contenders}
        rounds = _rounds(context, contenders, best)
    outcome = Outcome(_lines(rounds))
    outcome.samples = {
        "queries": spoken,
        "sweep": [
            {"side": each.side, "kind": each.kind, "connections": setting[0], "streams": setting[1], "rate": rate}
            for each, setting, rate in swept
        ],
        "best": best,
        "rounds": {
            name: [{**asdict(run), "server_us": run.server_us} for run in runs] for name, runs in rounds.items()
        },
    }
    return outcome


def _sweep(context: Context, contender: Contender) -> Iterator[Swept]:
    for setting in SETTINGS[2:3] if context.pace.rounds < 5 else SETTINGS:
        context.say("search: {}: {} calls in flight on each of {} connections".format(contender.name, *setting[::-1]))
        yield contender, setting, _once(context, contender, setting, context.pace.seconds / 2).rate


def _fastest(swept: Sequence[Swept], contender: Contender) -> Setting:
    own = [(rate, setting) for each, setting, rate in swept if each is contender]
    return max(own, key=lambda one: one[0])[1]


def _rounds(
    context: Context, contenders: Sequence[Contender], best: Mapping[str, Setting]
) -> dict[str, list[Measured]]:
    rounds: dict[str, list[Measured]] = {each.name: [] for each in contenders}
    for number in range(context.pace.rounds):
        for each in contenders:
            rounds[each.name].append(_once(context, each, best[each.name], context.pace.seconds))
        rates = ", ".join(f"{name} {runs[-1].rate:,.0f}/s" for name, runs in rounds.items())
        context.say(f"search: round {number + 1} of {context.pace.rounds}: {rates}")
    return rounds


def _once(context: Context, contender: Contender, setting: Setting, seconds: float) -> Measured:
    settle([contender.server.pid])
    load = Load(*setting, seconds, context.pace.warm_up_s / 2)
    return drive(contender.server.url(SEARCH), contender.bodies, load, contender.server.pid)


def _lines(rounds: dict[str, list[Measured]]) -> list[Line]:
    lines = []
    for kind, target in TARGETS.items():
        bare_runs, served_runs = rounds[f"bare, {kind}"], rounds[f"served, {kind}"]
        for side, runs in (("bare servicer", bare_runs), ("served", served_runs)):
            rate, cpu = summarise([run.rate for run in runs]), summarise([run.server_us for run in runs])
            lines.append(Line("search", f"by {kind}: {side}", "requests/s", rate))
            lines.append(Line("search", f"by {kind}: {side}, CPU per request", "µs", cpu, better="lower"))
        share = ratios([run.rate for run in served_runs], [run.rate for run in bare_runs])
        lines.append(Line("search", f"by {kind}: served / bare", "x", summarise(share), target))
    return lines


def texts(seed: int, count: int) -> list[str]:
    """Return so many captions of 4 to 12 words, all different, as evenly from short to long as there are."""
    fitting = sorted({text for text in captions(10 * count + 400, seed) if 4 <= len(text.split()) <= 12})
    fitting.sort(key=len)
    step = len(fitting) // count
    chosen = [fitting[step // 2 + i * step] for i in range(count)]
    # Any number of them from the beginning is of all lengths.
    Random(seed).shuffle(chosen)
    return chosen


def by_text(text: str) -> bytes:
    """Return a request to search by a text."""
    return frame(search_pb2.SearchRequest(query=search_pb2.Query(text=text)))


def by_vector(dimension: int, seed: int, count: int) -> list[bytes]:
    """Return so many requests to search by random vectors."""
    return [
        frame(search_pb2.SearchRequest(query=search_pb2.Query(vector=_embedding(vector.tolist()))))
        for vector in unit_vectors(count, dimension, seed)
    ]


def _embedding(values: list[float]) -> common_pb2.Embedding:
    return common_pb2.Embedding(float32=common_pb2.FloatVector(values=values))
