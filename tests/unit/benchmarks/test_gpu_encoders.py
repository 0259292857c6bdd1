"""What the towers on a GPU are compared with: the same graph, with pixels that go up four bytes each."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from clipsearch.encoders.runtime import CPU, open_session
from tests.integration.support import SAMPLE_BUNDLE


def test_float_pixels_give_the_same_vectors(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the comparison with PyTorch needs it, as the export extra does")
    from benchmarks.gpu.encoders import with_float_pixels

    for name in ("image.onnx", "image.weights"):
        shutil.copy(SAMPLE_BUNDLE / name, tmp_path)
    narrow, wide = tmp_path / "image.onnx", with_float_pixels(tmp_path / "image.onnx")
    assert wide.parent == tmp_path and wide != narrow
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    (right,) = open_session(narrow, {CPU: {}}, 1).run(None, {"pixels": pixels})
    (found,) = open_session(wide, {CPU: {}}, 1).run(None, {"pixels": pixels.astype(np.float32)})
    np.testing.assert_array_equal(found, right)
