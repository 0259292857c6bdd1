"""The options that our users add to Locust's own, on its command line and in its web page."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from benchmarks.load.arrivals import Arrivals
from benchmarks.load.work import Sizes

MIX = "text search=60,filtered search=12,image search=8,composed search=6,upsert=6,batch embed=4,stream embed=4"
"""Calls of a shop with a busy page and a feed, in parts of a hundred."""


def add_to(parser: Any) -> None:
    """Add the options to Locust's parser; each can be set in the environment, too."""

    def add(name: str, default: object, text: str, **more: Any) -> None:
        variable = f"CLIPSEARCH_LOAD_{name.removeprefix('--').upper().replace('-', '_')}"
        parser.add_argument(name, default=default, env_var=variable, help=f"{text} [{default}]", **more)

    add("--arrivals", "poisson", "when calls are due: an open loop, or closed", choices=list(get_args(Arrivals)))
    add("--rate", 5.0, "calls a second of each user, in an open loop", type=float)
    add("--deadline-ms", 2000.0, "of each call", type=float)
    add("--mix", MIX, "what MixUser asks for, and how often")
    add("--batch-items", 32, "inputs of a batch and of a stream", type=int)
    add("--picture-side", 512, "pixels of the pictures' edges", type=int)
    add("--top-k", 10, "hits of a search", type=int)
    add("--zipf", 1.1, "exponent of how often texts repeat; 0: all alike", type=float)
    add("--vector-size", 128, "components of vectors that are written: the model's dimension", type=int)
    add("--collection", "", "to search and to write")
    add("--call-seed", 0, "of requests and arrivals", type=int)
    add("--in-flight", 256, "most calls of a user at once; beyond, they count as UNSENT", type=int)
    add("--most-lag-ms", 25.0, "p99 of how late calls are sent; beyond, the generator was the bottleneck", type=float)
    add("--window-s", 1.0, "length of what is recorded together", type=float)
    add("--record", "", "file to write what was measured to, as JSON")


@dataclass(frozen=True, slots=True)
class Options:
    """The options, typed."""

    arrivals: Arrivals
    rate: float
    deadline_s: float
    mix: Mapping[str, float]
    sizes: Sizes
    seed: int
    in_flight: int
    most_lag_ms: float
    window_s: float
    record: str


def options_of(parsed: Namespace) -> Options:
    """Read what Locust parsed; raises ValueError for a mix that is none."""
    return Options(
        arrivals=cast(Arrivals, parsed.arrivals),
        rate=float(parsed.rate),
        deadline_s=float(parsed.deadline_ms) / 1e3,
        mix=mix_of(parsed.mix),
        sizes=Sizes(
            batch=int(parsed.batch_items),
            side=int(parsed.picture_side),
            top_k=int(parsed.top_k),
            zipf=float(parsed.zipf),
            dimension=int(parsed.vector_size),
            collection=parsed.collection,
        ),
        seed=int(parsed.call_seed),
        in_flight=int(parsed.in_flight),
        most_lag_ms=float(parsed.most_lag_ms),
        window_s=float(parsed.window_s),
        record=parsed.record,
    )


def mix_of(text: str) -> dict[str, float]:
    """Read ``KIND=PART,…``; raises ValueError for kinds without a positive part."""
    mix = {}
    for entry in text.split(","):
        kind, _, part = entry.rpartition("=")
        try:
            mix[kind.strip()] = float(part)
        except ValueError:
            raise ValueError(f"a mix is KIND=PART,…, not {entry!r}") from None
    if not all(kind and part > 0.0 for kind, part in mix.items()):
        raise ValueError(f"every kind of a mix has a positive part, not as in {text!r}")
    return mix
