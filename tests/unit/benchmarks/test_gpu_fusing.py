"""The graph with fewer kernels computes the same, as far as a CPU can tell."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsearch.encoders.load import load_encoders
from clipsearch.encoders.packing import packing
from clipsearch.encoders.runtime import CPU, RuntimeOptions, open_session
from tests.integration.support import SAMPLE_BUNDLE

onnx = pytest.importorskip("onnx")

from benchmarks.gpu.fusing import fused


def both(tmp_path: Path, tower: str, feed: dict[str, Any]) -> tuple[Any, Any, Counter[str]]:
    """Return the vectors of the graph as it was exported and of the other one, and the kinds of nodes of that."""
    for suffix in ("onnx", "weights"):
        shutil.copy(SAMPLE_BUNDLE / f"{tower}.{suffix}", tmp_path)
    exported = tmp_path / f"{tower}.onnx"
    before = exported.read_bytes()
    other = fused(exported)
    assert exported.read_bytes() == before and other != exported
    (right,), (found,) = (open_session(path, {CPU: {}}, 1).run(None, feed) for path in (exported, other))
    return right, found, Counter(node.op_type for node in onnx.load(str(other), load_external_data=False).graph.node)


def test_pictures(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    right, found, kinds = both(tmp_path, "image", {"pixels": pixels})
    np.testing.assert_allclose(found, right, atol=1e-5)
    # Queries and the first half of each feed-forward keep their biases; what is left to be added is the positions.
    layers = kinds["Attention"]
    assert (kinds["Gemm"], kinds["SkipLayerNormalization"], kinds["Add"]) == (2 * layers, 2 * layers, 1)


def test_texts(tmp_path: Path) -> None:
    tokenizer = load_encoders(SAMPLE_BUNDLE, RuntimeOptions("cpu")).tokenizer
    rows = [tokenizer(text).ids for text in ("a red dress", "a very large lamp with a green shade", "mug")]
    ids = np.full((len(rows), max(map(len, rows))), rows[0][-1], dtype=np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    feed = {"ids": ids, **packing(ids, [len(row) for row in rows])}
    right, found, kinds = both(tmp_path, "text", feed)
    np.testing.assert_allclose(found, right, atol=1e-5)
    assert kinds["SkipLayerNormalization"] >= kinds["Attention"]
