"""What a packed text graph is told besides the ids of a batch: which places are computed, and what stands for the rest.

All of a text tower but attention looks at one token at a time, so a batch of texts of any lengths can go through it as
one matrix of its tokens alone. For attention they are spread out to [batch, length] and taken back after it; what pads
there is any row, since attention is causal and texts are padded at their ends.

Being causal it also makes of a token what the tokens before it say, and nothing after it does: where texts begin alike,
they are alike up to there in every layer, and one row stands for all of them. They all begin with the start token.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

KEPT: Final = "kept"
"""Input, int64 [rows]: the places that are computed, counted through the batch row by row."""

ROWS: Final = "rows"
"""Input, int64 [batch, length]: for each place which of those kept stands for it, and any of them for padding."""

PADDING_COST: Final = 0.05
"""What a place of padding costs beside a token, for being copied to attention and looked at by it. It grows with the
length: nothing that can be measured among texts of 6 to 14 tokens, a tenth where one of 77 is among them."""

Places = NDArray[np.int64]


def packing(ids: Places, lengths: Sequence[int]) -> dict[str, Places]:
    """Return the inputs for a batch of texts ``ids`` [batch, length], of which only ``lengths`` are not padding."""
    batch, length = ids.shape
    if batch == 1 and lengths[0] == length:
        return every_place(batch, length)
    # Sorted, texts that begin alike are neighbours, and what a text has in common with any before it, it has with the
    # one just before it. (Where padding looks like words this may miss some, and computes them twice.)
    order = np.lexsort(ids.T[::-1])
    texts = ids[order]
    tokens = np.arange(length) < np.asarray(lengths)[order, np.newaxis]
    new = tokens.copy()
    new[1:] &= ~(np.logical_and.accumulate(texts[1:] == texts[:-1], axis=1) & tokens[:-1])
    kept = (order[:, np.newaxis] * length + np.arange(length))[new]
    rows = np.empty((batch, length), dtype=np.int64)
    # Rows are numbered as they come, so the largest so far in a column is that of the last text that differed.
    rows[order] = np.maximum.accumulate(np.where(new, new.cumsum().reshape(new.shape) - 1, 0), axis=0)
    return {KEPT: kept, ROWS: rows}


def every_place(batch: int, length: int) -> dict[str, Places]:
    """Return the inputs for a batch [batch, length] of which all is computed, padding too."""
    every = np.arange(batch * length)
    return {KEPT: every, ROWS: every.reshape(batch, length)}
