"""How good a ranking is: recall of texts for pictures, precision of pictures for pictures. numpy only.

Vectors are unit float32 (n, d); scores are cosines; ranks count from 1. Ties go to the lower row, as a stable sort has
it, so that a figure never depends on luck.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipsearch_demo.captions import Caption, facts
from clipsearch_demo.catalogue.specs import ProductSpec


def top_rows(queries: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The k best rows of `gallery` for every query, best first; int64 (queries, k)."""
    order: NDArray[np.int64] = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")[:, :k]
    return order


def exact_recall(ranked: NDArray[np.int64], targets: Sequence[int], ks: Sequence[int]) -> dict[str, float]:
    """Share of queries whose very own picture (row `targets[i]`) is among the first k, for each k."""
    hits = ranked == np.asarray(targets)[:, None]
    return {f"recall@{k}": round(float(hits[:, :k].any(axis=1).mean()), 4) for k in ks}


def matching_recall(
    ranked: NDArray[np.int64], captions: Sequence[Caption], gallery: Sequence[ProductSpec], ks: Sequence[int]
) -> dict[str, float]:
    """Share of captions with at least one picture among the first k of which every claim is true."""
    hits = _matches(ranked, captions, gallery)
    return {f"recall@{k}": round(float(hits[:, :k].any(axis=1).mean()), 4) for k in ks}


def matching_precision(
    ranked: NDArray[np.int64], captions: Sequence[Caption], gallery: Sequence[ProductSpec], k: int
) -> tuple[float, int]:
    """Mean share of the first k pictures of which every claim is true, and over how many captions.

    Only captions true of at least k pictures count: the others could not fill k places however good the model.
    """
    hits = _matches(ranked, captions, gallery)[:, :k]
    enough = [sum(c.describes(spec) for spec in gallery) >= k for c in captions]
    return round(float(hits[np.asarray(enough)].mean()), 4), sum(enough)


def _matches(
    ranked: NDArray[np.int64], captions: Sequence[Caption], gallery: Sequence[ProductSpec]
) -> NDArray[np.bool_]:
    return np.array([[c.describes(gallery[row]) for row in rows] for c, rows in zip(captions, ranked, strict=True)])


def neighbour_precision(
    vectors: NDArray[np.float32], gallery: Sequence[ProductSpec], fields: Sequence[str], k: int = 10
) -> dict[str, float]:
    """Each picture as a query among all the others: mean share of its k nearest that agree with it in a field."""
    ranked = top_rows(vectors, vectors, k + 1)
    known = [facts(spec) for spec in gallery]
    agreed: dict[str, list[float]] = {field: [] for field in fields}
    for query, rows in enumerate(ranked):
        others = [row for row in rows if row != query][:k]
        for field in fields:
            agreed[field].append(sum(known[row][field] == known[query][field] for row in others) / k)
    return {field: round(float(np.mean(values)), 4) for field, values in agreed.items()}
