"""The two towers: batches of token ids or pixels to unit vectors, by ONNX Runtime."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from clipsearch.encoders.manifest import Bundle
from clipsearch.encoders.packing import PADDING_COST
from clipsearch.encoders.runtime import PooledGraph, RuntimeOptions, Usage
from clipsearch.errors import ComputeFailed
from clipsearch.ports import Pixels, TokenIds, Vectors

_UNIT_TOLERANCE: Final = 1e-3
"""How far a warm-up vector's norm may be from 1; fp16 towers normalise in float32 too."""


class OnnxTextEncoder:
    """The text tower of a bundle; see ``ports.TextEncoder``. May be called from several threads at once."""

    def __init__(self, bundle: Bundle, options: RuntimeOptions) -> None:
        """Load the graph; raises UnusableBundle or DeviceUnavailable."""
        manifest = bundle.manifest
        self.dimension = manifest.dimension
        self.context_length = manifest.context_length
        self._bos_id, self._eos_id, self._pad_id = manifest.bos_id, manifest.eos_id, manifest.pad_id
        self._graph = PooledGraph.load(bundle.text_graph, manifest, options)

    def encode(self, batch: Sequence[TokenIds]) -> Vectors:
        """Embed int64 id sequences of any lengths: float32 [n, dimension], rows of unit length.

        Rows are padded to the longest in the batch, which changes nothing: attention is causal and pooling looks at the
        first end token. It only costs, ``padding_cost``; where that is much, callers group texts of like length.
        """
        if not batch:
            return np.empty((0, self.dimension), dtype=np.float32)

        def fill(ids: NDArray[np.int64]) -> None:
            ids.fill(self._pad_id)
            for row, tokens in zip(ids, batch, strict=False):
                row[: len(tokens)] = tokens

        lengths = [len(tokens) for tokens in batch]
        return self._graph.run((len(batch), max(lengths)), fill, lengths)

    @property
    def padding_cost(self) -> float:
        """What a place of padding takes beside a token."""
        return PADDING_COST if self._graph.packs else 1.0

    @property
    def usage(self) -> Usage:
        """How often and how long the tower ran."""
        return self._graph.usage

    def warm_up(self, batch_sizes: Sequence[int] = (1, 8)) -> None:
        """Run the shortest, a middling and the longest text at each batch size, so that no caller pays for first times.

        Raises ComputeFailed where an answer is not finite, of unit length and of the right shape.
        """
        for size in batch_sizes:
            for length in (2, min(12, self.context_length), self.context_length):

                def fill(ids: NDArray[np.int64], length: int = length) -> None:
                    ids.fill(self._bos_id)
                    ids[:, length - 1 :] = self._eos_id

                for session in self._graph.sessions:
                    _check(session.run((size, length), fill), size, self.dimension, "text")


class OnnxImageEncoder:
    """The image tower of a bundle; see ``ports.ImageEncoder``. May be called from several threads at once."""

    def __init__(self, bundle: Bundle, options: RuntimeOptions) -> None:
        """Load the graph; raises UnusableBundle or DeviceUnavailable."""
        manifest = bundle.manifest
        self.dimension = manifest.dimension
        self.image_size = manifest.image_size
        self._graph = PooledGraph.load(bundle.image_graph, manifest, options)

    def encode(self, batch: Sequence[Pixels]) -> Vectors:
        """Embed uint8 [size, size, 3] pixels: float32 [n, dimension], rows of unit length."""
        if not batch:
            return np.empty((0, self.dimension), dtype=np.float32)

        def fill(pixels: NDArray[np.uint8]) -> None:
            for item, given in zip(pixels, batch, strict=False):
                item[:] = given

        return self._graph.run((len(batch), *batch[0].shape), fill)

    @property
    def usage(self) -> Usage:
        """How often and how long the tower ran."""
        return self._graph.usage

    def warm_up(self, batch_sizes: Sequence[int] = (1, 4)) -> None:
        """Run grey pictures at each batch size; raises ComputeFailed as the text tower's does."""
        for size in batch_sizes:
            shape = (size, self.image_size, self.image_size, 3)
            for session in self._graph.sessions:
                _check(session.run(shape, lambda pixels: pixels.fill(127)), size, self.dimension, "image")


def _check(vectors: Vectors, size: int, dimension: int, tower: str) -> None:
    if vectors.shape != (size, dimension) or vectors.dtype != np.float32:
        raise ComputeFailed(
            f"The {tower} tower answered {vectors.dtype} {list(vectors.shape)} to the warm-up, "
            f"not float32 [{size}, {dimension}]."
        )
    if not np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1) < _UNIT_TOLERANCE):
        raise ComputeFailed(f"The {tower} tower's warm-up vectors are not finite and of unit length.")
