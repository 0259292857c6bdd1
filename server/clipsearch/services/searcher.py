"""The index as the lanes share it: whichever worker holds the vectors searches with them, one worker at a time.

A text or a picture is searched for by the encoder lane's own worker, right after its batch was encoded. Handing the
vectors back to the event loop and on to a search lane was the alternative: it costs two thread switches and a pass of
the loop more, which for a small model is more than encoding and searching together. Queries that need no encoder, by
vector or by item, have a lane of their own.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.ports import Rows, VectorIndex, Vectors

Vector = NDArray[np.float32]
"""float32 [dimension], unit length."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What to look for around a vector."""

    top_k: int
    nprobe: int | None = None
    with_vectors: bool = False


@dataclass(frozen=True, slots=True)
class Lookup:
    """An item of the search lane: a unit vector, or the row whose vector to use, and what to look for around it."""

    target: Vector | int
    probe: Probe


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What was found: rows int64 [n], exact cosines [n], and vectors [n, dimension] where asked for.

    ``searched_s`` is the time that the search of the whole batch took, in seconds.
    """

    rows: Rows
    scores: NDArray[np.float32]
    vectors: Vectors | None
    searched_s: float


class Searcher:
    """One index, for any number of threads."""

    def __init__(self, index: VectorIndex) -> None:
        self._index = index
        self._lock = threading.Lock()

    def lookup(self, batch: Sequence[Lookup]) -> list[Neighbours]:
        """Run one batch of the search lane."""
        vectors = np.empty((len(batch), self._index.dimension), np.float32)
        rows = {i: item.target for i, item in enumerate(batch) if isinstance(item.target, int)}
        if rows:
            with self._lock:
                vectors[list(rows)] = self._index.vectors(np.array(list(rows.values()), np.int64))
        for i, item in enumerate(batch):
            if i not in rows:
                vectors[i] = item.target
        return self.search(vectors, [item.probe for item in batch])

    def search(self, vectors: Vectors, probes: Sequence[Probe]) -> list[Neighbours]:
        """Search around unit vectors, float32 [n, dimension]; one probe for each.

        Probes that ask for the same nprobe share one call to the index, at the largest top_k among them.
        """
        groups: dict[int | None, list[int]] = {}
        for i, probe in enumerate(probes):
            groups.setdefault(probe.nprobe, []).append(i)
        found: list[Neighbours | None] = [None] * len(probes)
        with self._lock:
            for nprobe, members in groups.items():
                started = time.monotonic()
                top_k = min(self._index.size, max(probes[i].top_k for i in members))
                queries = vectors if len(groups) == 1 else vectors[members]
                scores, rows = self._index.search(queries, top_k, nprobe)
                searched_s = time.monotonic() - started
                for i, some_scores, some_rows in zip(members, scores, rows, strict=True):
                    found[i] = self._trim(probes[i], some_scores, some_rows, searched_s)
        return [neighbours for neighbours in found if neighbours is not None]

    def _trim(self, probe: Probe, scores: NDArray[np.float32], rows: Rows, searched_s: float) -> Neighbours:
        """Cut to the probe's own top_k and drop the places that found nothing (row -1, always last)."""
        rows = rows[: probe.top_k]
        if len(rows) and rows[-1] < 0:
            rows = rows[rows >= 0]
        vectors = self._index.vectors(rows) if probe.with_vectors else None
        return Neighbours(rows, scores[: len(rows)], vectors, searched_s)
