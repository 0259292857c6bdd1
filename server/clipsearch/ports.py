"""The Protocols that the layers meet at.

Items that cross them are plain arrays and numbers, so that a lane may later live in another process or on another
machine without the services noticing.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.selection import Selection

TokenIds = NDArray[np.int64]
"""int64 [length]: begin-of-text … end-of-text, not padded, length <= the context length."""

Pixels = NDArray[np.uint8]
"""uint8 [size, size, 3]: RGB, already resized and cropped, not normalised."""

Vectors = NDArray[np.float32]
"""float32 [n, dimension]; rows have unit length unless said otherwise."""

Rows = NDArray[np.int64]
"""int64 numbers of catalogue rows, or of positions inside an index; -1 where there is none."""

ALL: Final = sys.maxsize
"""Of neighbours: as many as there are."""


class Priority(Enum):
    """Which of a lane's two queues an item joins."""

    INTERACTIVE = "interactive"
    BULK = "bulk"

    # Enum's own is a Python function, and every request looks things up by its priority many times.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Tokens:
    """One tokenised text: its ids and whether the context length cut it short."""

    ids: TokenIds
    truncated: bool


class Tokenizer(Protocol):
    """Text to token ids, equal to the checkpoint's own tokenizer."""

    context_length: int

    def __call__(self, text: str) -> Tokens:
        """Tokenise one text, truncated to ``context_length`` with the end token kept. Thread-safe."""
        ...


class ImagePreprocessor(Protocol):
    """Encoded image to the pixels that the image tower takes."""

    image_size: int

    def __call__(self, data: bytes) -> Pixels:
        """Decode, orient, convert to RGB, resize and crop as the checkpoint's processor does. Thread-safe.

        Raises EmptyImage, ImageTooLarge, TooManyPixels, UnsupportedImage or CorruptImage.
        """
        ...


class TextEncoder(Protocol):
    """The text tower."""

    dimension: int

    def encode(self, batch: Sequence[TokenIds]) -> Vectors:
        """Embed ``n`` token sequences of any lengths; returns float32 [n, dimension] with rows of unit length."""
        ...


class ImageEncoder(Protocol):
    """The image tower."""

    dimension: int

    def encode(self, batch: Sequence[Pixels]) -> Vectors:
        """Embed ``n`` pixel arrays; returns float32 [n, dimension] with rows of unit length."""
        ...


class Scanner(Protocol):
    """Compares queries with each of some vectors that come to an index later, and that only ever grow at their end."""

    def __call__(
        self, queries: Vectors, vectors: Vectors, k: int, only: Selection | None
    ) -> tuple[NDArray[np.float32], Rows]:
        """Return (scores float32 [n, k], positions int64 [n, k]) as ``VectorIndex.search`` does.

        ``vectors`` float32 [m, dimension], m > 0, hold values of float16; each call gives one scanner more or fewer of
        the same. ``only`` selects among their positions.
        """
        ...


class VectorIndex(Protocol):
    """Nearest neighbours by cosine (inner product of unit vectors); knows vectors and their positions 0 … size - 1.

    Any number of threads may search at once. On a GPU they take turns, since FAISS is not thread-safe there.
    """

    dimension: int
    size: int
    max_nprobe: int
    """Largest nprobe that a query may ask for; 1 where the index has no lists (exact)."""
    max_k: int
    """Most neighbours that one search gives; ``ALL`` where only their number limits it."""
    is_exact: bool
    """Whether a search can miss nothing."""

    def search(
        self, queries: Vectors, k: int, nprobe: int | None = None, only: Selection | None = None
    ) -> tuple[NDArray[np.float32], Rows]:
        """Return (scores float32 [n, k], positions int64 [n, k]), best first; -1 and -inf past what was found.

        Scores are exact cosines, also where candidates come from quantised codes. ``nprobe`` overrides the tuned value
        and is ignored by an exact index. ``only``, a selection of this index's positions, limits what may be found.
        """
        ...

    def search_exactly(
        self, queries: Vectors, k: int, only: Selection | None = None
    ) -> tuple[NDArray[np.float32], Rows]:
        """Return what ``search`` would if it missed nothing, whatever that costs."""
        ...

    def vectors(self, positions: Rows) -> Vectors:
        """Return the stored vectors at the given positions, float32 [n, dimension]."""
        ...

    def scanner(self) -> Scanner:
        """Return what compares with vectors that come later, where this index lies; a new one for each set of them."""
        ...


class Clock(Protocol):
    """Monotonic time; a fake one drives the tests."""

    def __call__(self) -> float:
        """Seconds from an arbitrary origin, never going back."""
        ...
