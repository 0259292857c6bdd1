"""Embeddings of texts that were asked for before: queries repeat, a few of them very often.

Only queries are kept, texts that are searched with or embedded alone. What comes in batches and streams is a corpus,
whose texts hardly repeat and would drive the queries out.
"""

from collections import OrderedDict
from typing import Final

from clipsearch.services.searcher import Vector
from clipsearch.services.serving import ModelFacts

OVERHEAD_BYTES: Final = 400
"""Of an entry, besides its text and its vector: objects and their places in the table, measured."""


class QueryCache:
    """The texts asked for last with their unit vectors, within a bound of bytes. Used on the event loop only.

    Texts are told apart by the model as well: another precision of the same weights gives other vectors.
    """

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes`` 0: nothing is kept and nothing counted."""
        self.hits = self.misses = self.held_bytes = 0
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[ModelFacts, str], tuple[Vector, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, model: ModelFacts, text: str) -> tuple[Vector, bool] | None:
        """Return a text's unit vector, float32 [dimension], and whether the text was cut; None where it is not here."""
        if not self._max_bytes:
            return None
        key = (model, text)
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry

    def put(self, model: ModelFacts, text: str, vector: Vector, truncated: bool) -> None:
        """Keep a text's vector, and let go of those that nobody asked for longest."""
        # A copy: the vector is a row of its batch's output, which it would keep alive as a whole.
        size = _size(text, vector)
        if size > self._max_bytes:
            return
        if self._entries.pop((model, text), None) is None:
            self.held_bytes += size
        self._entries[model, text] = vector.copy(), truncated
        while self.held_bytes > self._max_bytes:
            (_, dropped), (its_vector, _) = self._entries.popitem(last=False)
            self.held_bytes -= _size(dropped, its_vector)


def _size(text: str, vector: Vector) -> int:
    return OVERHEAD_BYTES + 4 * len(text) + vector.nbytes
