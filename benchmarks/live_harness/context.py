"""What every section is told, and the vectors that all of them use."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from benchmarks.clustered_vectors import clustered

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]

_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured: ``singles`` writes one by one in each of ``rounds``; ``steady_s`` seconds of searching
    before and after a rebuild, ``rate`` single queries and ``batch_rate`` batches a second; ``filter_queries`` of each
    kind through every filter; ``opens`` of a collection, warm and cold each.
    """

    rounds: int
    singles: int
    steady_s: float
    rate: float
    batch_rate: float
    filter_queries: int
    opens: int


FULL = Pace(rounds=5, singles=100, steady_s=60.0, rate=50.0, batch_rate=5.0, filter_queries=100, opens=3)
QUICK = Pace(rounds=2, singles=20, steady_s=6.0, rate=50.0, batch_rate=5.0, filter_queries=8, opens=1)


@dataclass(frozen=True, slots=True)
class Context:
    """One run of the benchmark: ``n`` items of ``d`` coordinates under ``work``; ``rebuild`` as in ``rebuild.WAYS``."""

    work: Path
    n: int
    d: int
    seed: int
    rebuild: tuple[str, ...]
    pace: Pace
    say: Callable[[str], None]

    @property
    def data(self) -> Path:
        """The data directory, as ``clipsearch serve --data`` takes it."""
        return self.work / "data"


@dataclass(frozen=True, slots=True)
class Vectors:
    """``base`` float16 [n, d] to load, memory-mapped; ``newer`` float16 [m, d] of the same kind to write later.

    ``images`` and ``texts`` are float32 [q, d] queries that were never indexed; ``tuning`` texts apart from those.
    """

    base: Float16
    newer: Float16
    images: Float32
    texts: Float32
    tuning: Float32


QUERIES = 500


def prepare(context: Context) -> Vectors:
    """Make the vectors, or find those of an earlier run with the same settings."""
    directory = context.work / "vectors"
    made_of = {"n": context.n, "d": context.d, "seed": context.seed}
    stamp = directory / "made_of.json"
    if not stamp.is_file() or json.loads(stamp.read_text()) != made_of:
        context.say(f"making {context.n} vectors of {context.d}")
        directory.mkdir(parents=True, exist_ok=True)
        _make(context, directory)
        stamp.write_text(json.dumps(made_of))
    stored: Float16 = np.load(directory / "stored.npy", mmap_mode="r")
    queries = np.load(directory / "queries.npy")
    images, texts = queries[:QUERIES], queries[QUERIES:]
    return Vectors(stored[: context.n], stored[context.n :], images, texts[::2], texts[1::2])


def _make(context: Context, directory: Path) -> None:
    newer = max(1000, context.n // 50)
    # Twice the texts: every other one is for tuning.
    data = clustered(context.n + newer, context.d, 2 * QUERIES, context.seed)
    stored = open_memmap(directory / "stored.npy", mode="w+", dtype=np.float16, shape=data.base.shape)
    for start in range(0, len(stored), _BLOCK):
        stored[start : start + _BLOCK] = data.base[start : start + _BLOCK]
    stored.flush()
    np.save(directory / "queries.npy", np.concatenate([data.image_queries[:QUERIES], data.text_queries]))


def settings(context: Context) -> dict[str, Any]:
    """What figures have to share to stand beside each other."""
    return {"n": context.n, "d": context.d, "seed": context.seed, "pace": asdict(context.pace)}
