"""How a linear layer is written at each precision.

A layer takes tokens as rows, [rows, in], and gives [rows, out]. Layers that read the same rows (query, key and value)
are written together, so that an int8 graph quantises those rows once.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch_export.graph import CONTRIB, GraphBuilder

Floats = NDArray[np.float32]
Layer = tuple[Floats, Floats]
"""Weight float32 [out, in], as torch keeps it, and bias float32 [out]."""

Quantise = Callable[[Floats], tuple[NDArray[np.int8], Floats]]
"""Rounds a weight as ``quantise_weight`` does."""

_LEVELS: Final = 127
_ZERO_POINT: Final = 128
_PAIR: Final = 2
"""How many products AVX2 adds in 16 bits before it widens them: those of neighbours along a weight's inputs."""


class LinearWriter(Protocol):
    """Writes linear layers, and the patch embedding, which is one over raw pixels."""

    dtype: type[np.float32] | type[np.float16]
    """Element type between the layers."""

    table_dtype: type[np.float32] | type[np.float16]
    """Element type in which embedding tables are stored."""

    def begin_rows(self, graph: GraphBuilder, rows: str) -> None:
        """Tell that the layers written from here on have as many rows as the value named."""
        ...

    def write(self, graph: GraphBuilder, rows: str, layers: Sequence[Layer], floor: float | None = None) -> list[str]:
        """Write layers over the same rows; returns their outputs.

        ``floor`` tells that no element of the rows is below ``-floor``, as after an activation.
        """
        ...

    def write_pixels(self, graph: GraphBuilder, rows: str, weight: Floats) -> tuple[str, NDArray[np.float64]]:
        """Write ``weight @ pixels`` over uint8 rows [rows, in], for weights that take pixels of 0 to 255.

        Returns the output and what is to be added to it [out], as an implementation may shift the pixels.
        """
        ...


class FloatLinear:
    """fp32 and fp16: one Gemm a layer, its constant weight prepacked by ONNX Runtime."""

    def __init__(self, dtype: type[np.float32] | type[np.float16]) -> None:
        self.dtype = dtype
        self.table_dtype = dtype

    def begin_rows(self, graph: GraphBuilder, rows: str) -> None:
        """See LinearWriter; there is nothing to prepare."""

    def write(self, graph: GraphBuilder, rows: str, layers: Sequence[Layer], floor: float | None = None) -> list[str]:
        """See LinearWriter."""
        return [
            graph.add("Gemm", rows, graph.constant(weight.T, self.dtype), graph.constant(bias, self.dtype))
            for weight, bias in layers
        ]

    def write_pixels(self, graph: GraphBuilder, rows: str, weight: Floats) -> tuple[str, NDArray[np.float64]]:
        """See LinearWriter; fp16 centres the pixels and moves a power of two between them and the weights.

        Without that the folded weights (around 1e-4) would come near fp16's smallest normal number, 6e-5. Both steps
        are exact in fp16.
        """
        pixels = graph.cast(rows, self.dtype)
        if self.dtype is np.float32:
            return graph.add("MatMul", pixels, graph.constant(weight.T)), np.zeros(len(weight))
        centred = graph.add("Sub", pixels, graph.constant(_ZERO_POINT, self.dtype))
        scaled = graph.add("Mul", centred, graph.constant(1 / 64, self.dtype))
        product = graph.add("MatMul", scaled, graph.constant(weight.T * np.float32(64), self.dtype))
        return product, _shift(weight)


class Int8Linear:
    """int8 weights (one scale per output) times uint8 activations (one scale per row, found while running).

    A scale per row is what makes an item's vector independent of its neighbours in the batch; ONNX Runtime's own
    dynamic quantisation takes one scale for the whole batch. Sums are int32, all else is float32. Activations use zero
    point 128 and ±127 levels: unsigned times signed is what AVX-512 VNNI multiplies natively, and what AVX2 multiplies
    exactly given weights of ``quantise_weight``.
    """

    dtype: type[np.float32] | type[np.float16] = np.float32
    table_dtype: type[np.float32] | type[np.float16] = np.float16

    def __init__(self, quantise: Quantise | None = None) -> None:
        """Round weights by ``quantise``, which is ``quantise_weight`` but where its worth is measured."""
        self._quantise = quantise or quantise_weight
        self._zero_points = ""

    def begin_rows(self, graph: GraphBuilder, rows: str) -> None:
        """See LinearWriter; QuantizeLinear wants a zero point for each row, and one vector of them does for all."""
        count = graph.add("Shape", rows, start=0, end=1)
        self._zero_points = graph.add("Expand", graph.constant([_ZERO_POINT], np.uint8), count)

    def write(self, graph: GraphBuilder, rows: str, layers: Sequence[Layer], floor: float | None = None) -> list[str]:
        """See LinearWriter.

        A row of zeros has scale 0 and quantises to anything; times its scale that is zero again.
        """
        if floor is None:
            bound = graph.add("ReduceMax", graph.add("Abs", rows), graph.constant([1], np.int64), keepdims=1)
        else:
            # A known floor saves the pass for absolute values over the widest rows, those after the activation.
            largest = graph.add("ReduceMax", rows, graph.constant([1], np.int64), keepdims=1)
            bound = graph.add("Max", largest, graph.constant(floor, np.float32))
        row_scale = graph.add("Mul", bound, graph.constant(1 / _LEVELS, np.float32))
        flat_scale = graph.add("Squeeze", row_scale, graph.constant([1], np.int64))
        quantised = graph.add("QuantizeLinear", rows, flat_scale, self._zero_points, axis=0)
        return [self._layer(graph, quantised, row_scale, *layer) for layer in layers]

    def write_pixels(self, graph: GraphBuilder, rows: str, weight: Floats) -> tuple[str, NDArray[np.float64]]:
        """See LinearWriter; pixels are uint8 already, so nothing is lost on their side."""
        return self._product(graph, rows, weight), _shift(weight)

    def _layer(self, graph: GraphBuilder, quantised: str, row_scale: str, weight: Floats, bias: Floats) -> str:
        scaled = graph.add("Mul", self._product(graph, quantised, weight), row_scale)
        return graph.add("Add", scaled, graph.constant(bias))

    def _product(self, graph: GraphBuilder, quantised: str, weight: Floats) -> str:
        integers, scales = self._quantise(weight)
        return graph.add(
            "MatMulIntegerToFloat",
            quantised,
            graph.constant(integers.T),
            graph.constant(1, np.float32),
            graph.constant(scales),
            graph.constant(_ZERO_POINT, np.uint8),
            domain=CONTRIB,
        )


def quantise_weight(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Round a weight [out, in] to int8 with one scale per output; returns both, the scales float32 [out].

    Two neighbours of one sign have at most 128 levels together: times activations of 255 that is 32,640, which 16 bits
    hold, and AVX2 adds such pairs in 16 bits and cuts off what is more. So every processor comes to the same sums, for
    coarser scales than those of the largest weight alone (docs/decisions/0014).
    """
    return round_weight(weight, np.maximum(np.abs(weight).max(axis=1), _largest_pair(weight)))


def round_weight(weight: Floats, largest: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Round a weight [out, in] to levels of which 127 are ``largest`` [out]; returns as ``quantise_weight`` does."""
    scales = np.maximum(largest, np.finfo(np.float32).tiny) / np.float32(_LEVELS)
    integers = np.clip(np.rint(weight / scales[:, np.newaxis]), -_LEVELS, _LEVELS).astype(np.int8)
    return integers, scales.astype(np.float32)


def _largest_pair(weight: Floats) -> Floats:
    """Return for each output the largest sum of two neighbouring weights of one sign, float32 [out].

    Rounding to levels adds at most half a level to each of the two, which is what 128 has over 127.
    """
    paired = weight[:, : weight.shape[1] // _PAIR * _PAIR].reshape(len(weight), -1, _PAIR)
    above, below = (np.maximum(side, 0).sum(axis=2).max(axis=1, initial=0) for side in (paired, -paired))
    largest: Floats = np.maximum(above, below)
    return largest


def _shift(weight: Floats) -> NDArray[np.float64]:
    """What pixels centred on 128 leave out of each output."""
    shift: NDArray[np.float64] = weight.astype(np.float64).sum(axis=1) * _ZERO_POINT
    return shift
