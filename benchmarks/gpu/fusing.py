"""A tower's graph once more with fewer kernels, for a card to say what that is worth.

ONNX Runtime's CUDA provider adds the bias of a Gemm by kernels of their own, over all it gives, and so does the Add of
the residual and the norm after it. Here biases of keys and values are left out (all of a query's products shift alike
by the one, and the other is as good as one of the output's), and what is added before a norm is added by the norm
(SkipLayerNormalization). The vectors are the same but for rounding. On a CPU that norm is slower, so exported graphs do
not have it, unless a card says that theirs should.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from clipsearch_export.graph import CONTRIB, save


def fused(path: Path) -> Path:
    """Write the graph and its weights beside ``path``, and return where."""
    model = onnx.load(str(path))
    graph = _Graph(model)
    for attention in graph.all("Attention"):
        _leave_out_biases(graph, attention)
    for norm in graph.all("LayerNormalization"):
        _join(graph, norm)
    written = path.with_name(f"{path.stem}-fused{path.suffix}")
    save(model, written)
    return written


class _Graph:
    """A graph to change: its nodes, and who makes and who takes a value."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._constants = {one.name: one for one in model.graph.initializer}

    def all(self, kind: str) -> list[Any]:
        """Return the nodes of a kind, in their order."""
        return [node for node in self._model.graph.node if node.op_type == kind]

    def maker(self, value: str) -> Any | None:
        """Return the node that gives a value; None of a constant or an input."""
        return next((node for node in self._model.graph.node if value in node.output), None)

    def takers(self, value: str) -> Iterator[Any]:
        """Yield the nodes that take a value."""
        return (node for node in self._model.graph.node if value in node.input)

    def constant(self, name: str) -> NDArray[Any]:
        """Return a constant's value."""
        values: NDArray[Any] = onnx.numpy_helper.to_array(self._constants[name])
        return values

    def set_constant(self, name: str, values: NDArray[Any]) -> None:
        """Change a constant's value, not its type."""
        kept = self.constant(name).dtype
        self._constants[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(kept), name))

    def replace(self, node: Any, by: Any | None) -> None:
        """Put another node in one's place, or none."""
        nodes = self._model.graph.node
        place = next(number for number, one in enumerate(nodes) if one is node)
        del nodes[place]
        if by is not None:
            nodes.insert(place, by)


def _leave_out_biases(graph: _Graph, attention: Any) -> None:
    """Of keys altogether; of values into that of the layer behind the attention, which is a sum over them to one."""
    key, value = (_linear_before(graph, name) for name in attention.input[1:3])
    behind = next(graph.takers(attention.output[0]))
    while behind.op_type != "Gemm":
        behind = next(graph.takers(behind.output[0]))
    bias, weight = (graph.constant(name).astype(np.float64) for name in (value.input[2], behind.input[1]))
    graph.set_constant(behind.input[2], graph.constant(behind.input[2]) + bias @ weight)
    for layer in (key, value):
        graph.replace(layer, _without_bias(layer))


def _linear_before(graph: _Graph, value: str) -> Any:
    node = graph.maker(value)
    while node is not None and node.op_type != "Gemm":
        node = graph.maker(node.input[0])
    assert node is not None, "no layer before the attention"
    return node


def _without_bias(layer: Any) -> Any:
    return onnx.helper.make_node("MatMul", layer.input[:2], layer.output, name=layer.name)


def _join(graph: _Graph, norm: Any) -> None:
    """Have a norm add what is added before it: the residual, a layer's output, and that layer's bias."""
    added = graph.maker(norm.input[0])
    if added is None or added.op_type != "Add":
        return
    residual, given = added.input
    layer = graph.maker(given)
    if layer is None or layer.op_type != "Gemm":
        return
    joined = onnx.helper.make_node(
        "SkipLayerNormalization",
        [given, residual, *norm.input[1:3], layer.input[2]],
        [norm.output[0], "", "", added.output[0]],
        name=added.name,
        domain=CONTRIB,
        epsilon=next(one.f for one in norm.attribute if one.name == "epsilon"),
    )
    graph.replace(layer, _without_bias(layer))
    graph.replace(added, joined)
    graph.replace(norm, None)
