"""What a packed text graph is told besides the ids of a batch: which places hold tokens, so that padding costs nothing.

All of a text tower but attention looks at one token at a time, so a batch of texts of any lengths can go through it as
one matrix of its tokens alone. For attention they are spread out to [batch, length] and taken back after it; what pads
there is any row, since attention is causal and texts are padded at their ends.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

KEPT: Final = "kept"
"""Input, int64 [tokens]: the places that hold tokens, counted through the batch row by row."""

ROWS: Final = "rows"
"""Input, int64 [batch, length]: for each place which of those kept it is, and any of them where it is none."""

PADDING_COST: Final = 0.05
"""What a place of padding costs beside a token, for being copied to attention and looked at by it. It grows with the
length: nothing that can be measured among texts of 6 to 14 tokens, a tenth where one of 77 is among them."""


def packing(shape: tuple[int, ...], lengths: Sequence[int] | None) -> dict[str, NDArray[np.int64]]:
    """Return the inputs for a batch of ``shape`` [batch, length]; without ``lengths`` every place is kept."""
    count = shape[0] * shape[1]
    if lengths is None:
        every = np.arange(count)
        return {KEPT: every, ROWS: every.reshape(shape)}
    kept = np.flatnonzero(np.arange(shape[1]) < np.asarray(lengths)[:, np.newaxis])
    rows = np.zeros(count, dtype=np.int64)
    rows[kept] = np.arange(len(kept))
    return {KEPT: kept, ROWS: rows.reshape(shape)}
