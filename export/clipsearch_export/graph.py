"""A thin layer over ``onnx.helper`` to write a graph node by node.

The towers are written out instead of traced: a traced graph computes the same, is a few per cent slower, and leaves out
what only we know, such as that one row per item survives the last attention (figures in docs/decisions/0003).
"""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike, NDArray

from clipsearch.encoders.manifest import SHAPE_NODE

OPSET: Final = 23
"""The first with ``Attention``."""

CONTRIB: Final = "com.microsoft"
"""ONNX Runtime's own operators; there on every device."""

_IR_VERSION: Final = 11
_EXTERNAL_DATA_FROM_BYTES: Final = 1024


class GraphBuilder:
    """Nodes and constants of one graph under construction; values are named by strings, as ONNX does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._small: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, value: ArrayLike, dtype: DTypeLike | None = None) -> str:
        """Add a constant and return its name; equal small ones are stored once."""
        array = np.ascontiguousarray(value, dtype=dtype)
        array = array.reshape(np.shape(value))  # ascontiguousarray makes scalars one-dimensional
        key = (array.dtype.str, array.shape, array.tobytes()) if array.nbytes <= 64 else None
        if key is not None and key in self._small:
            return self._small[key]
        name = f"constant_{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(array, name))
        if key is not None:
            self._small[key] = name
        return name

    def add(self, kind: str, *inputs: str, domain: str = "", output: str | None = None, **attributes: Any) -> str:
        """Add a node of one output and return that output's name; an empty input name leaves an optional input out."""
        return self._append("node_", kind, *inputs, domain=domain, output=output, **attributes)

    def add_shape(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node that reckons with shapes alone: the one kind that a GPU leaves to the CPU, known by its name."""
        return self._append(SHAPE_NODE, kind, *inputs, **attributes)

    def _append(
        self, prefix: str, kind: str, *inputs: str, domain: str = "", output: str | None = None, **attributes: Any
    ) -> str:
        number = len(self._nodes)
        output = output or f"{kind}_{number}"
        self._nodes.append(
            onnx.helper.make_node(kind, list(inputs), [output], name=f"{prefix}{number}", domain=domain, **attributes)
        )
        return output

    def cast(self, value: str, dtype: DTypeLike) -> str:
        """Convert to another element type."""
        return self.add("Cast", value, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def model(
        self,
        source: tuple[str, DTypeLike, Sequence[int | str]],
        result: tuple[str, Sequence[int | str]],
        places: Mapping[str, Sequence[int | str]] | None = None,
    ) -> Any:
        """Close the graph with (input name, element type, shape) and (output name, shape) of float32.

        ``places`` are further inputs, of int64, by their names.
        """

        def declare(name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> Any:
            return onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape)
            )

        inputs = [declare(*source), *(declare(name, np.int64, shape) for name, shape in (places or {}).items())]
        graph = onnx.helper.make_graph(
            self._nodes, self._name, inputs, [declare(result[0], np.float32, result[1])], self._constants
        )
        opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(CONTRIB, 1)]
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="clipsearch")


def save(model: Any, path: Path) -> list[Path]:
    """Write a model with its weights beside it and check it; returns the files written."""
    weights = path.with_suffix(".weights")
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=weights.name,
        size_threshold=_EXTERNAL_DATA_FROM_BYTES,
    )
    onnx.checker.check_model(str(path))
    if not weights.exists():
        return [path]
    # onnx writes them for their owner alone, and a server runs as somebody else.
    weights.chmod(stat.S_IMODE(path.stat().st_mode))
    return [path, weights]


Weights = dict[str, NDArray[np.float32]]
"""A tower's parameters by their names in the checkpoint, float32."""
