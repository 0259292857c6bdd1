"""Recall and speed of a contender at a point; points that reach a recall; and rounds in which all take turns."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.figures import percentile, ratios
from benchmarks.index_harness.contenders import Contender, Float32, Point

K = 10
SAME_SCORE = 1e-5


@dataclass(frozen=True, slots=True)
class Truth:
    """Queries float32 [q, d] and the score of each one's tenth exact neighbour, float32 [q]."""

    queries: Float32
    tenth: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class OnCurve:
    """One point of a contender: its settings, recall@10 of either kind of query, and queries per second in a batch."""

    point: Point
    image_recall: float
    text_recall: float
    batch_qps: float

    @property
    def recall(self) -> float:
        """The smaller of the two: what is promised holds for both."""
        return min(self.image_recall, self.text_recall)


@dataclass(slots=True)
class Turns:
    """What one contender did at one point over all rounds."""

    contender: str
    point: Point
    target: float
    batch_qps: list[float] = field(default_factory=list)
    single_ms: list[float] = field(default_factory=list)

    def summary(self, flat: "Turns") -> dict[str, object]:
        """Medians, and ratios to exact flat round by round."""
        times = ratios(self.batch_qps, flat.batch_qps)
        return {
            "contender": self.contender,
            "point": self.point,
            "recall_target": self.target,
            "batch_qps": float(np.median(self.batch_qps)),
            "batch_over_flat": {"median": float(np.median(times)), "low": min(times), "high": max(times)},
            "single_p50_ms": percentile(self.single_ms, 0.5),
            "single_p99_ms": percentile(self.single_ms, 0.99),
        }


def recall(base: Float32, truth: Truth, found: NDArray[np.int64]) -> float:
    """Recall@10 by score, so that equal neighbours count alike."""
    scores = np.einsum("qkd,qd->qk", base[np.maximum(found, 0)], truth.queries)
    return float(((scores >= truth.tenth[:, None] - SAME_SCORE) & (found >= 0)).mean())


def curve(contender: Contender, base: Float32, truths: Sequence[Truth], threads: int) -> list[OnCurve]:
    """Measure every point once; ``truths`` are those of the pictures and of the texts."""
    measured = []
    for point in contender.points:
        recalls, spent, count = [], 0.0, 0
        for truth in truths:
            began = time.perf_counter()
            found = contender.search(truth.queries, K, point, threads)
            spent, count = spent + time.perf_counter() - began, count + len(truth.queries)
            recalls.append(recall(base, truth, found))
        measured.append(OnCurve(point, recalls[0], recalls[1], count / spent))
    return measured


def fastest(points: Sequence[OnCurve], target: float) -> OnCurve | None:
    """The fastest point that reaches a recall for both kinds of query; None where none does."""
    reached = [point for point in points if point.recall >= target]
    return max(reached, key=lambda point: point.batch_qps, default=None)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (recall, queries per second), those that no other beats in both, by recall."""
    best: list[tuple[float, float]] = []
    for point in sorted(points, reverse=True):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best[::-1]


def take_turns(
    entries: Sequence[tuple[Contender, Turns]], queries: Float32, rounds: int, singles: int, threads: int
) -> None:
    """Let every entry run a batch with all threads, and single queries with one, in each round."""
    for _ in range(rounds):
        for contender, turns in entries:
            began = time.perf_counter()
            contender.search(queries, K, turns.point, threads)
            turns.batch_qps.append(len(queries) / (time.perf_counter() - began))
            for query in queries[:singles]:
                began = time.perf_counter()
                contender.search(query[None], K, turns.point, 1)
                turns.single_ms.append(1e3 * (time.perf_counter() - began))
