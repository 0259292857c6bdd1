"""The two graphs, written from a checkpoint's weights.

Tokens are rows of a matrix, [tokens, width], everywhere but inside attention; so a packed text graph has no rows for
the padding of a batch. The pooled row of each item is taken out right after the last attention, not at the end: nothing
later looks at other rows, and that is a sixteenth of the arithmetic of a twelve-layer tower.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from clipsearch.encoders.manifest import PreprocessRule
from clipsearch.encoders.packing import KEPT, ROWS
from clipsearch_export.errors import ExportError
from clipsearch_export.graph import CONTRIB, GraphBuilder, Weights
from clipsearch_export.linear import Floats, LinearWriter

LEGACY_EOS_ID: Final = 2
"""Configs from before transformers 4.31 hold this wrong id; there the largest id of a row marks its end."""

_EXACT_FLOAT32: Final = 2**24
"""Whole numbers below this are exact in float32."""

_ACTIVATION_FLOOR: Final = 0.17
"""Neither GELU goes below -0.17, nor does QuickGELU (-0.164)."""


@dataclass(frozen=True, slots=True)
class TowerConfig:
    """The geometry of one tower."""

    layers: int
    heads: int
    width: int
    epsilon: float
    activation: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """How rows are the tokens of a batch; each writes nodes for one value and returns theirs."""

    to_batch: Callable[[str], str]
    """Rows [tokens, width] to [batch, length, width], as attention takes them."""
    to_rows: Callable[[str], str]
    """And back."""
    pool: Callable[[str], str]
    """Rows to the one of each item that stands for it, [batch, width]."""


def image_graph(
    weights: Weights, config: TowerConfig, image_size: int, rule: PreprocessRule, linear: LinearWriter
) -> Any:
    """Write the image tower: uint8 [batch, size, size, 3] to float32 [batch, dimension], rows of unit length."""
    graph = GraphBuilder("image")
    patch_weight = weights["vision_model.embeddings.patch_embedding.weight"]
    patch = patch_weight.shape[-1]
    side = image_size // patch
    # Cut into patches while the pixels are still bytes: [batch, side, patch, side, patch * 3] to one patch a row.
    split = graph.add("Reshape", "pixels", graph.constant([-1, side, patch, side, patch * 3], np.int64))
    gathered = graph.add("Transpose", split, perm=[0, 1, 3, 2, 4])
    patches = graph.add("Reshape", gathered, graph.constant([-1, patch * patch * 3], np.int64))

    folded, offset = fold_normalisation(patch_weight, rule)
    embedded, shift = linear.write_pixels(graph, patches, folded)
    positions = weights["vision_model.embeddings.position_embedding.weight"].astype(np.float64)
    per_patch = positions[1:] + offset + shift
    grid = graph.add("Reshape", embedded, graph.constant([-1, side * side, config.width], np.int64))
    first = weights["vision_model.embeddings.class_embedding"] + positions[:1]
    # A row of zeros before the patches, for the class token to be added to: no shape is asked for, as an Expand would.
    padded = graph.add("Pad", grid, graph.constant([0, 1, 0, 0, 0, 0], np.int64))
    sequence = graph.add("Add", padded, graph.constant(np.concatenate([first, per_patch]), linear.dtype))

    writer = _TowerWriter(graph, weights, "vision_model", config=config, linear=linear, causal=False)
    rows = graph.add("Reshape", sequence, graph.constant([-1, config.width], np.int64))
    rows = writer.norm(rows, "pre_layrnorm")  # spelt so in the checkpoints
    length = side * side + 1

    def pool(values: str) -> str:
        items = graph.add("Reshape", values, graph.constant([-1, length * config.width], np.int64))
        ends = [graph.constant([n], np.int64) for n in (0, config.width, 1)]
        return graph.add("Slice", items, *ends)

    pooled = writer.layers(rows, _grid(graph, config.width, graph.constant([-1, length, config.width], np.int64), pool))
    writer.embedding(pooled, "post_layernorm", weights["visual_projection.weight"])
    size = weights["visual_projection.weight"].shape[0]
    return graph.model(("pixels", np.uint8, ["batch", image_size, image_size, 3]), ("embedding", ["batch", size]))


def text_graph(weights: Weights, config: TowerConfig, eos_id: int, linear: LinearWriter, *, packed: bool) -> Any:
    """Write the text tower: int64 ids [batch, length] to float32 [batch, dimension], rows of unit length.

    ``eos_id`` is the config's: the first such id of a row marks its end, or the largest id where it is LEGACY_EOS_ID.
    A ``packed`` graph computes what ``clipsearch.encoders.packing`` tells it to be tokens, the other one all places.
    """
    graph = GraphBuilder("text")
    all_positions = weights["text_model.embeddings.position_embedding.weight"]
    if len(weights["text_model.embeddings.token_embedding.weight"]) * len(all_positions) >= _EXACT_FLOAT32:
        raise ExportError("The vocabulary is too large for the way in which the end of a text is found.")
    table = graph.constant(weights["text_model.embeddings.token_embedding.weight"], linear.table_dtype)
    position_table = graph.constant(all_positions, linear.dtype)
    length = graph.add_shape("Shape", "ids", start=1, end=2)
    ends = _ends(graph, eos_id, length, len(all_positions))
    ids = "ids"
    if packed:
        ids = graph.add("Gather", graph.add("Reshape", ids, graph.constant([-1], np.int64)), KEPT)
        positions = graph.add("Gather", position_table, graph.add("Mod", KEPT, length))
        layout = _packed(graph, config.width, ends)
    else:
        positions = _first_rows(graph, position_table, length)
        width = graph.constant([config.width], np.int64)
        shape = graph.add_shape("Concat", graph.add_shape("Shape", ids), width, axis=0)
        layout = _grid(
            graph,
            config.width,
            shape,
            lambda rows: graph.add("GatherND", graph.add("Reshape", rows, shape), ends, batch_dims=1),
        )
    words = graph.add("Gather", table, ids)
    if linear.table_dtype is not linear.dtype:
        words = graph.cast(words, linear.dtype)
    rows = graph.add("Reshape", graph.add("Add", words, positions), graph.constant([-1, config.width], np.int64))

    writer = _TowerWriter(graph, weights, "text_model", config=config, linear=linear, causal=True)
    pooled = writer.layers(rows, layout)
    writer.embedding(pooled, "final_layer_norm", weights["text_projection.weight"])
    size = weights["text_projection.weight"].shape[0]
    places: dict[str, Sequence[int | str]] = {KEPT: ["tokens"], ROWS: ["batch", "length"]} if packed else {}
    return graph.model(("ids", np.int64, ["batch", "length"]), ("embedding", ["batch", size]), places)


def fold_normalisation(weight: Floats, rule: PreprocessRule) -> tuple[Floats, np.ndarray[Any, np.dtype[np.float64]]]:
    """Fold rescale, mean and std into a patch convolution [out, 3, patch, patch].

    Returns the weight float32 [out, patch * patch * 3] over pixels of 0 to 255 in NHWC order, and what to add, float64
    [out]. From (pixel * rescale - mean) / std, in float64.
    """
    factor = rule.rescale_factor if rule.do_rescale else 1.0
    mean = np.array(rule.mean if rule.do_normalize else (0.0,) * 3, dtype=np.float64)
    std = np.array(rule.std if rule.do_normalize else (1.0,) * 3, dtype=np.float64)
    exact = weight.astype(np.float64).transpose(0, 2, 3, 1)  # [out, patch, patch, 3]
    offset = -(exact * (mean / std)).sum(axis=(1, 2, 3))
    return (exact * (factor / std)).reshape(len(weight), -1).astype(np.float32), offset


def _grid(graph: GraphBuilder, width: int, shape: str, pool: Callable[[str], str]) -> _Layout:
    """Every place of a batch is a row; ``shape`` names int64 [3], the rows' shape as a batch."""
    return _Layout(
        to_batch=lambda rows: graph.add("Reshape", rows, shape),
        to_rows=lambda batch: graph.add("Reshape", batch, graph.constant([-1, width], np.int64)),
        pool=pool,
    )


def _packed(graph: GraphBuilder, width: int, ends: str) -> _Layout:
    """The places that are kept are rows; for attention they are spread out, and the rest filled with anything."""
    last_rows = graph.add("GatherND", ROWS, ends, batch_dims=1)
    return _Layout(
        to_batch=lambda rows: graph.add("Gather", rows, ROWS, axis=0),
        to_rows=lambda batch: graph.add(
            "Gather", graph.add("Reshape", batch, graph.constant([-1, width], np.int64)), KEPT, axis=0
        ),
        pool=lambda rows: graph.add("Gather", rows, last_rows, axis=0),
    )


def _first_rows(graph: GraphBuilder, table: str, length: str) -> str:
    axis = graph.constant([0], np.int64)
    return graph.add("Slice", table, axis, length, axis)


def _ends(graph: GraphBuilder, eos_id: int, length: str, longest: int) -> str:
    """Write where each item's end token stands, int64 [batch, 1].

    Not as an ArgMax: CUDA's knows no integers, and is free to choose among the end tokens that pad a text. Here what is
    looked for leads, and places from the back break its ties, in whole numbers that float32 holds exactly.
    """
    # int32 because that is the type transformers compares in.
    ids = graph.cast("ids", np.int32)
    legacy = eos_id == LEGACY_EOS_ID
    marks = graph.cast(ids if legacy else graph.add("Equal", ids, graph.constant(eos_id, np.int32)), np.float32)
    from_back = _first_rows(graph, graph.constant(np.arange(longest)[::-1], np.float32), length)
    leading = graph.add("Mul", marks, graph.constant(longest, np.float32))
    ranked = graph.add("ReduceMax", graph.add("Add", leading, from_back), graph.constant([1], np.int64), keepdims=1)
    back = graph.add("Mod", graph.cast(ranked, np.int64), graph.constant([longest], np.int64))
    return graph.add("Sub", graph.constant([longest - 1], np.int64), back)


class _TowerWriter:
    """Writes what both towers share."""

    def __init__(
        self,
        graph: GraphBuilder,
        weights: Weights,
        prefix: str,
        *,
        config: TowerConfig,
        linear: LinearWriter,
        causal: bool,
    ) -> None:
        self._graph, self._weights, self._prefix = graph, weights, prefix
        self._config, self._linear, self._causal = config, linear, causal

    def norm(self, rows: str, name: str, dtype: type[np.floating[Any]] | None = None) -> str:
        """Write a layer norm; its sums are float32 whatever the element type (``stash_type`` 1, the default)."""
        scale, bias = (
            self._graph.constant(self._weights[f"{self._prefix}.{name}.{part}"], dtype or self._linear.dtype)
            for part in ("weight", "bias")
        )
        return self._graph.add("LayerNormalization", rows, scale, bias, axis=-1, epsilon=self._config.epsilon)

    def layers(self, rows: str, layout: _Layout) -> str:
        """Write all layers over rows [tokens, width]; returns the pooled rows, [batch, width]."""
        self._linear.begin_rows(self._graph, rows)
        for number in range(self._config.layers):
            last = number == self._config.layers - 1
            attended = self._attention(self.norm(rows, f"encoder.layers.{number}.layer_norm1"), number, layout)
            if last:
                rows, attended = layout.pool(rows), layout.pool(attended)
                self._linear.begin_rows(self._graph, rows)
            rows = self._graph.add("Add", rows, self._linears(attended, number, ["self_attn.out_proj"])[0])
            normed = self.norm(rows, f"encoder.layers.{number}.layer_norm2")
            hidden = self._activation(self._linears(normed, number, ["mlp.fc1"])[0])
            rows = self._graph.add("Add", rows, self._linears(hidden, number, ["mlp.fc2"], _ACTIVATION_FLOOR)[0])
        return rows

    def embedding(self, pooled: str, norm: str, projection: Floats) -> None:
        """Write the last norm, the projection and the unit length; always in float32: few rows, all that is seen."""
        if self._linear.dtype is not np.float32:
            pooled = self._graph.cast(pooled, np.float32)
        projected = self._graph.add("MatMul", self.norm(pooled, norm, np.float32), self._graph.constant(projection.T))
        self._graph.add("LpNormalization", projected, axis=-1, p=2, output="embedding")

    def _attention(self, rows: str, number: int, layout: _Layout) -> str:
        names = [f"self_attn.{part}_proj" for part in ("q", "k", "v")]
        parts = [layout.to_batch(part) for part in self._linears(rows, number, names)]
        heads = self._config.heads
        attended = self._graph.add(
            "Attention", *parts, q_num_heads=heads, kv_num_heads=heads, is_causal=int(self._causal)
        )
        return layout.to_rows(attended)

    def _linears(self, rows: str, number: int, names: Sequence[str], floor: float | None = None) -> list[str]:
        prefix = f"{self._prefix}.encoder.layers.{number}"
        layers = [(self._weights[f"{prefix}.{name}.weight"], self._weights[f"{prefix}.{name}.bias"]) for name in names]
        return self._linear.write(self._graph, rows, layers, floor)

    def _activation(self, rows: str) -> str:
        match self._config.activation:
            case "quick_gelu":
                return self._graph.add("QuickGelu", rows, domain=CONTRIB, alpha=1.702)
            case "gelu":
                return self._graph.add("Gelu", rows)
            case "gelu_new" | "gelu_pytorch_tanh":
                return self._graph.add("Gelu", rows, approximate="tanh")
            case other:
                raise ExportError(f"The activation {other!r} is not supported (quick_gelu and the gelu family are).")
