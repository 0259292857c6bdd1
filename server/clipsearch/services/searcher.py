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

from clipsearch.collection import Collection
from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.errors import ClipsearchError, ItemNotFound
from clipsearch.index.allowed import AllowedRows
from clipsearch.index.view import View
from clipsearch.ports import Rows, Vectors
from clipsearch.services.recall import QueryKind, RecallMonitor, Sample

Vector = NDArray[np.float32]
"""float32 [dimension], unit length."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What to look for around a vector, and where.

    ``allowed`` is what a filter lets through, None for all; ``excluded`` are rows that must not be found; hits score at
    least ``min_score``, a cosine. Without ``with_ids`` the rows stay unnamed: for candidates, which may be thousands.
    """

    top_k: int
    collection: str = DEFAULT
    nprobe: int | None = None
    with_vectors: bool = False
    with_ids: bool = True
    allowed: AllowedRows | None = None
    excluded: frozenset[int] = frozenset()
    min_score: float | None = None
    kind: QueryKind = QueryKind.VECTOR


@dataclass(frozen=True, slots=True)
class Lookup:
    """An item of the search lane: a unit vector, or the row whose vector to use, and what to look for around it."""

    target: Vector | int
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

    def lookup(self, batch: Sequence[Lookup]) -> list[Found]:
        """Run one batch of the search lane; an item whose row has gone meanwhile fails alone."""
        vectors: list[Vector] = []
        found: list[Found | None] = [None] * len(batch)
        for i, item in enumerate(batch):
            try:
                vectors.append(self._vector(item))
            except ClipsearchError as error:
                found[i] = error
        sound = [i for i in range(len(batch)) if found[i] is None]
        if sound:
            for i, near in zip(sound, self.search(np.stack(vectors), [batch[i].probe for i in sound]), strict=True):
                found[i] = near
        return [near for near in found if near is not None]

    def _vector(self, item: Lookup) -> Vector:
        if not isinstance(item.target, int):
            return item.target
        view = self._data.collection(item.probe.collection).view
        if not view.contains(item.target):
            raise ItemNotFound("the item was replaced or deleted meanwhile", field="query.item_id")
        vector: Vector = view.vectors(np.array([item.target]))[0]
        return vector

    def search(self, vectors: Vectors, probes: Sequence[Probe]) -> list[Found]:
        """Search around unit vectors, float32 [n, dimension]; one probe for each.

        Probes of one collection that ask for the same nprobe and filter share one call to its index, at the largest
        number of hits among them. All of a call see one state. Those for candidates share with their like only, so
        that no search for ten hits goes as deep as they do.
        """
        groups: dict[tuple[str, int | None, int, bool], list[int]] = {}
        for i, probe in enumerate(probes):
            groups.setdefault((probe.collection, probe.nprobe, id(probe.allowed), probe.with_ids), []).append(i)
        found: list[Found | None] = [None] * len(probes)
        for members in groups.values():
            queries = vectors if len(groups) == 1 else vectors[members]
            for i, near in zip(members, self._search_group(queries, [probes[i] for i in members]), strict=True):
                found[i] = near
        return [near for near in found if near is not None]

    def _search_group(self, queries: Vectors, probes: Sequence[Probe]) -> Sequence[Found]:
        first = probes[0]
        try:
            collection = self._data.collection(first.collection)
        except ClipsearchError as error:  # deleted while the query was embedded
            return [copy(error) for _ in probes]  # one each: callers add to their own
        started = time.monotonic()
        with collection.turn:
            view = collection.view
            k = max(1, min(view.size, max(probe.top_k + len(probe.excluded) for probe in probes)))
            nprobe = None if first.nprobe is None else min(first.nprobe, view.max_nprobe)
            scores, rows = view.search(queries, k, nprobe, first.allowed)
        searched_s = time.monotonic() - started
        if not view.is_exact and first.nprobe is None and self._monitor.is_due(len(probes)):
            kept = scores[0][rows[0] >= 0]
            sample = Sample(collection.name, first.kind, view, queries[0].copy(), kept, k, first.allowed)
            self._monitor.offer(sample)
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
    if probe.excluded:
        kept = np.array([row not in probe.excluded for row in rows.tolist()], dtype=np.bool_)
        rows, scores = rows[kept], scores[kept]
    rows, scores = rows[: probe.top_k], scores[: probe.top_k]
    if probe.min_score is not None:
        enough = int(np.count_nonzero(scores >= probe.min_score))  # best first
        rows, scores = rows[:enough], scores[:enough]
    vectors = view.vectors(rows) if probe.with_vectors else None
    ids = collection.ids(rows) if probe.with_ids else []
    return Neighbours(rows, ids, scores, vectors, view.seq, searched_s)
