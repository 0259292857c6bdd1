"""The collections as the lanes search them: whichever worker holds the vectors searches with them.

A text or a picture is searched for by the encoder lane's own worker, right after its batch was encoded. Handing the
vectors back to the event loop and on to a search lane was the alternative: it costs two thread switches and a pass of
the loop more, which for a small model is more than encoding and searching together. Queries that need no encoder, by
vector or by item, have a lane of their own.
"""

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch.catalogue.filters.compile import CompiledFilter
from clipsearch.collection import Collection
from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.errors import ClipsearchError
from clipsearch.index.view import View
from clipsearch.ports import Rows, Vectors
from clipsearch.services.recall import QueryKind, RecallMonitor, Sample

Vector = NDArray[np.float32]
"""float32 [dimension], unit length."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What to look for around a vector, and where.

    ``condition`` is a filter, None to let all through; ``excluded`` are ids that must not be found; hits score at least
    ``min_score``, a cosine. Filter and ids, not the rows that they meant a moment ago: an item that is updated
    meanwhile has another row. ``shown`` are rows that were hits already. Without ``with_ids`` the rows may stay
    unnamed: for candidates, of which there may be thousands. ``view`` is the state to search, None for the newest when
    its turn comes: a search of several rounds must not see several states. ``kind`` is what recall is counted under.
    """

    top_k: int
    collection: str = DEFAULT
    nprobe: int | None = None
    with_vectors: bool = False
    with_ids: bool = True
    condition: CompiledFilter | None = None
    excluded: frozenset[str] = frozenset()
    shown: frozenset[int] = frozenset()
    min_score: float | None = None
    view: View | None = None
    kind: QueryKind = QueryKind.VECTOR


@dataclass(frozen=True, slots=True)
class Lookup:
    """An item of the search lane: a unit vector, and what to look for around it."""

    target: Vector
    probe: Probe


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What was found: rows int64 [n], exact cosines [n], and where asked for their ids and vectors [n, dimension].

    ``seq`` is the sequence number of the state that was searched; ``searched_s`` the time that the search of the whole
    batch took, in seconds.
    """

    rows: Rows
    ids: list[str]
    scores: NDArray[np.float32]
    vectors: Vectors | None
    seq: int
    searched_s: float


Found = Neighbours | ClipsearchError


class Searcher:
    """All collections, for any number of threads."""

    def __init__(self, data: DataDirectory, monitor: RecallMonitor) -> None:
        self._data = data
        self._monitor = monitor

    def watch(self, before: "Searcher") -> None:
        """Have the recall of searches measured from now on, in the place of another searcher's."""
        self._monitor = before._monitor
        for name in self._data.names():
            self._monitor.forget(name)

    def lookup(self, batch: Sequence[Lookup]) -> list[Found]:
        """Run one batch of the search lane."""
        return self.search(np.stack([item.target for item in batch]), [item.probe for item in batch])

    def search(self, vectors: Vectors, probes: Sequence[Probe]) -> list[Found]:
        """Search around unit vectors, float32 [n, dimension]; one probe for each.

        Probes of one collection that ask for the same nprobe, filter and view share one call to its index, at the
        largest number of hits among them. All of a call see one state. Those for candidates share with their like
        only, so that no search for ten hits goes as deep as they do.
        """
        groups: dict[tuple[str, int | None, str, bool, int | None], list[int]] = {}
        for i, probe in enumerate(probes):
            condition = "" if probe.condition is None else probe.condition.text
            view = None if probe.view is None else id(probe.view)
            groups.setdefault((probe.collection, probe.nprobe, condition, probe.with_ids, view), []).append(i)
        found: list[Found | None] = [None] * len(probes)
        for members in groups.values():
            queries = vectors if len(groups) == 1 else vectors[members]
            for i, near in zip(members, self._search_group(queries, [probes[i] for i in members]), strict=True):
                found[i] = near
        return [near for near in found if near is not None]

    def _search_group(self, queries: Vectors, probes: Sequence[Probe]) -> Sequence[Found]:
        try:
            return self._searched(self._data.collection(probes[0].collection), queries, probes)
        except ClipsearchError as error:  # deleted while the query was embedded, or while it is searched for
            return [copy(error) for _ in probes]  # one each: callers add to their own

    def _searched(self, collection: Collection, queries: Vectors, probes: Sequence[Probe]) -> list[Neighbours]:
        """Search one state of a collection; the probes share nprobe, filter and view."""
        first = probes[0]
        started = time.monotonic()
        view = collection.view if first.view is None else first.view
        most = max(probe.top_k + len(probe.excluded) + len(probe.shown) for probe in probes)
        k = max(1, min(view.size, most))
        nprobe = None if first.nprobe is None else min(first.nprobe, view.max_nprobe)
        allowed = None if first.condition is None else collection.allowed(first.condition, view)
        scores, rows = view.search(queries, k, nprobe, allowed)
        searched_s = time.monotonic() - started
        if not view.is_exact and first.nprobe is None and self._monitor.is_due(len(probes)):
            kept = scores[0][rows[0] >= 0]
            self._monitor.offer(Sample(collection.name, first.kind, view, queries[0].copy(), kept, k, allowed))
        return [
            _trimmed(collection, view, probe, some_scores, some_rows, searched_s=searched_s)
            for probe, some_scores, some_rows in zip(probes, scores, rows, strict=True)
        ]


def _trimmed(
    collection: Collection, view: View, probe: Probe, scores: NDArray[np.float32], rows: Rows, *, searched_s: float
) -> Neighbours:
    """Cut to what the probe asks for, without the places that found nothing (row -1, always last)."""
    if len(rows) and rows[-1] < 0:
        rows = rows[rows >= 0]
        scores = scores[: len(rows)]
    if probe.shown:
        new = np.array([row not in probe.shown for row in rows.tolist()], dtype=np.bool_)
        rows, scores = rows[new], scores[new]
    if probe.min_score is not None:
        enough = int(np.count_nonzero(scores >= probe.min_score))  # best first
        rows, scores = rows[:enough], scores[:enough]
    most = probe.top_k + len(probe.excluded)
    rows, scores = rows[:most], scores[:most]
    ids = collection.ids(rows) if probe.with_ids or probe.excluded else []
    if probe.excluded:
        kept = [i for i, item_id in enumerate(ids) if item_id not in probe.excluded][: probe.top_k]
        rows, scores, ids = rows[kept], scores[kept], [ids[i] for i in kept]
    vectors = view.vectors(rows) if probe.with_vectors else None
    return Neighbours(rows, ids, scores, vectors, view.seq, searched_s)
