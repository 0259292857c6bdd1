"""What flows through a job: items of a source, each with its content or the problem in its place."""

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Kind = Literal["text", "image"]


class Problem(NamedTuple):
    """Why an item has no embedding: an UPPER_SNAKE reason and a sentence."""

    reason: str
    message: str


class Url(NamedTuple):
    """A picture to download."""

    text: str


Content = str | bytes | Path | Url | Problem
"""A text; an encoded picture, as bytes or where to find them; or why there is neither."""


class Item(NamedTuple):
    """One item of a source. ``mark`` changes with its content: by it a later run tells whether the source did."""

    id: str
    content: Content
    mark: bytes


Vector = NDArray[np.float32]
Outcome = tuple[Item, Vector | Problem]
"""What became of an item: its vector, float32 [dimension], or why it has none."""


class Digest:
    """A running hash of the items taken, over ids and marks, in order."""

    def __init__(self) -> None:
        """Start with no item."""
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, item: Item) -> None:
        """Take an item in."""
        # Lengths keep what ends here apart from what begins there.
        item_id = item.id.encode("utf-8", "surrogatepass")
        self._hash.update(b"%d:%d:" % (len(item_id), len(item.mark)))
        self._hash.update(item_id)
        self._hash.update(item.mark)

    def hexdigest(self) -> str:
        """Return the hash of all items so far."""
        return self._hash.hexdigest()
