"""One index over several devices: in shards, each with a part of the vectors, or in replicas, each with all of them.

Shards hold more than one device can, and each query costs every device; replicas answer more queries, and cost all the
memory on each.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from clipsearch.index.exact import Scores, merged, pad
from clipsearch.index.flat import check_search
from clipsearch.ports import Rows, Scanner, VectorIndex, Vectors
from clipsearch.selection import Selection

_BYTE = 8

Answer = tuple[Scores, Rows]


def bounds(size: int, parts: int) -> list[tuple[int, int]]:
    """Return the first position of each part and the one behind its last, parts as even as whole bytes of bits allow.

    A part may be empty where there are fewer than eight positions for each.
    """
    step = -(-size // (parts * _BYTE)) * _BYTE
    return [(min(i * step, size), min((i + 1) * step, size)) for i in range(parts)]


class _Spread:
    """Several indexes of the same kind, each asked on a thread of its own."""

    def __init__(self, parts: Sequence[VectorIndex]) -> None:
        self._parts = parts
        self._pool = ThreadPoolExecutor(len(parts), thread_name_prefix="spread")
        self.dimension, self.is_exact = parts[0].dimension, parts[0].is_exact
        self.max_nprobe, self.max_k = parts[0].max_nprobe, parts[0].max_k

    def scanner(self) -> Scanner:
        """Return what compares with vectors that come later: they are all kept with the first part."""
        return self._parts[0].scanner()


class Shards(_Spread):
    """Indexes with a part of the vectors each, all of them asked about every query."""

    def __init__(self, parts: Sequence[VectorIndex], starts: Sequence[int]) -> None:
        """Join parts that hold the positions from ``starts`` on, multiples of 8 that ascend from 0."""
        super().__init__(parts)
        self._starts = np.asarray(starts, dtype=np.int64)
        self.size = sum(part.size for part in parts)

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, only: Selection | None = None
    ) -> tuple[Scores, Rows]:
        """Return (scores [n, k], positions [n, k]) as ports.VectorIndex says; ``nprobe`` is that of each part."""
        check_search(k, nprobe if not self.is_exact else None, self.max_nprobe)
        return self._ask(queries, k, only, lambda part, some: part.search(queries, k, nprobe, some))

    def search_exactly(self, queries: Vectors, k: int, only: Selection | None = None) -> tuple[Scores, Rows]:
        """Compare with every vector of every part. Returns as ``search`` does."""
        check_search(k, None, self.max_nprobe)
        return self._ask(queries, k, only, lambda part, some: part.search_exactly(queries, k, some))

    def _ask(
        self, queries: Vectors, k: int, only: Selection | None, ask: Callable[[VectorIndex, Selection | None], Answer]
    ) -> Answer:
        def of(number: int) -> Answer | None:
            part, start = self._parts[number], int(self._starts[number])
            if part.size == 0:
                return None
            some = None if only is None else only.part(start, start + part.size)
            if some is not None and some.count == 0:
                return None
            scores, positions = ask(part, some)
            return scores, np.where(positions < 0, -1, positions + start)

        answers = [one for one in self._pool.map(of, range(len(self._parts))) if one is not None]
        if not answers:
            return pad(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
        return merged(answers, k)

    def vectors(self, positions: Rows) -> Vectors:
        """Return the stored vectors at ``positions``, float32 [n, d]."""
        vectors = np.empty((len(positions), self.dimension), dtype=np.float32)
        owners = self._starts.searchsorted(positions, side="right") - 1
        for number in np.unique(owners).tolist():
            own = owners == number
            vectors[own] = self._parts[number].vectors(positions[own] - self._starts[number])
        return vectors


class Replicas(_Spread):
    """The same index several times: the queries of a call are dealt out among them."""

    def __init__(self, parts: Sequence[VectorIndex]) -> None:
        """Join indexes that hold the same vectors."""
        super().__init__(parts)
        self.size = parts[0].size

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, only: Selection | None = None
    ) -> tuple[Scores, Rows]:
        """Return (scores [n, k], positions [n, k]) as ports.VectorIndex says."""
        return self._deal(queries, lambda part, some: part.search(some, k, nprobe, only))

    def search_exactly(self, queries: Vectors, k: int, only: Selection | None = None) -> tuple[Scores, Rows]:
        """Compare with every vector. Returns as ``search`` does."""
        return self._deal(queries, lambda part, some: part.search_exactly(some, k, only))

    def _deal(self, queries: Vectors, ask: Callable[[VectorIndex, Vectors], Answer]) -> Answer:
        if len(queries) < 2:
            return ask(self._parts[0], queries)
        dealt = [some for some in np.array_split(queries, len(self._parts)) if len(some)]
        answers = list(self._pool.map(ask, self._parts, dealt))
        return np.concatenate([scores for scores, _ in answers]), np.concatenate([rows for _, rows in answers])

    def vectors(self, positions: Rows) -> Vectors:
        """Return the stored vectors at ``positions``, float32 [n, d]."""
        return self._parts[0].vectors(positions)
