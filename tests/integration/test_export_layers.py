"""The pieces of the graphs, each against its formula."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from clipsearch.encoders.runtime import CPU, open_session
from clipsearch_export.graph import GraphBuilder, save
from clipsearch_export.linear import FloatLinear, Int8Linear, LinearWriter, Quantise, quantise_weight, round_weight
from clipsearch_export.towers import fold_normalisation
from tests.unit.encoders.helpers import preprocess_rule

pytestmark = pytest.mark.export

RANDOM = np.random.default_rng(3)


def run(model: Any, directory: Path, values: np.ndarray[Any, Any], *, whole_sums: bool = False) -> np.ndarray[Any, Any]:
    """Save a graph and run it on the CPU."""
    save(model, directory / "graph.onnx")
    session = open_session(directory / "graph.onnx", {CPU: {}}, threads=1, whole_sums=whole_sums)
    (result,) = session.run(None, {session.get_inputs()[0].name: values})
    return np.asarray(result)


def linear_graph(writer: LinearWriter, weight: Any, bias: Any, floor: float | None = None) -> Any:
    graph = GraphBuilder("linear")
    writer.begin_rows(graph, "rows")
    (product,) = writer.write(graph, "rows", [(weight, bias)], floor)
    graph.add("Identity", product, output="result")
    return graph.model(("rows", np.float32, ["n", weight.shape[1]]), ("result", ["n", weight.shape[0]]))


def pixel_graph(writer: LinearWriter, weight: Any) -> tuple[Any, Any]:
    graph = GraphBuilder("pixels")
    product, shift = writer.write_pixels(graph, "pixels", weight)
    graph.add("Cast", product, to=onnx.TensorProto.FLOAT, output="result")
    return graph.model(("pixels", np.uint8, ["n", weight.shape[1]]), ("result", ["n", weight.shape[0]])), shift


def test_int8_rows_of_all_scales(tmp_path: Path) -> None:
    weight = RANDOM.normal(size=(24, 64)).astype(np.float32)
    bias = RANDOM.normal(size=24).astype(np.float32)
    scales = np.array([0.0, 1e-6, 1.0, 1e4], dtype=np.float32)
    rows = RANDOM.normal(size=(4, 64)).astype(np.float32) * scales[:, np.newaxis]
    result = run(linear_graph(Int8Linear(), weight, bias), tmp_path, rows)
    np.testing.assert_array_equal(result[0], bias)  # a row of zeros, though its scale is 0
    error = np.abs(result - (rows.astype(np.float64) @ weight.T + bias)).max(axis=1)
    assert (error <= 0.3 * scales + 1e-6).all()


def test_int8_rows_do_not_see_each_other(tmp_path: Path) -> None:
    weight = RANDOM.normal(size=(24, 64)).astype(np.float32)
    model = linear_graph(Int8Linear(), weight, np.zeros(24, dtype=np.float32))
    rows = RANDOM.normal(size=(3, 64)).astype(np.float32)
    loud = np.concatenate([rows, rows * 1000])
    np.testing.assert_array_equal(run(model, tmp_path, rows), run(model, tmp_path, loud)[:3])


def test_int8_after_an_activation(tmp_path: Path) -> None:
    """Rows bounded below: the largest element alone gives the scale, the floor where all are negative."""
    weight = RANDOM.normal(size=(8, 32)).astype(np.float32)
    rows = np.stack([RANDOM.uniform(-0.17, 5, 32), RANDOM.uniform(-0.17, 0, 32)]).astype(np.float32)
    result = run(linear_graph(Int8Linear(), weight, np.zeros(8, dtype=np.float32), 0.17), tmp_path, rows)
    np.testing.assert_allclose(result, rows @ weight.T, atol=0.4)


def test_quantised_weights_are_within_half_a_step() -> None:
    weight = RANDOM.normal(size=(16, 40)).astype(np.float32)
    weight[3] = 0
    integers, scales = quantise_weight(weight)
    assert np.isfinite(scales).all()
    assert (np.abs(integers * scales[:, np.newaxis] - weight) <= 0.5001 * scales[:, np.newaxis]).all()


@pytest.mark.parametrize("inputs", [1, 2, 7, 64])
def test_pairs_of_quantised_weights_fit_16_bits(inputs: int) -> None:
    """The worst are all of one sign, and as large as any."""
    weight = RANDOM.normal(size=(64, inputs)).astype(np.float32)
    weight[0], weight[1] = 3.0, -3.0
    integers = quantise_weight(weight)[0].astype(int)
    pairs = integers[:, : inputs // 2 * 2].reshape(64, -1, 2)
    for side in (pairs, -pairs):
        assert 255 * np.maximum(side, 0).sum(axis=2).max(initial=0) <= np.iinfo(np.int16).max


def bright_sums(directory: Path, rows: int, quantise: Quantise, *, whole_sums: bool = False) -> tuple[Any, Any]:
    """Pixels of 255 times weights of one sign, by an int8 graph; returns that, and what it is in whole numbers."""
    weight = np.random.default_rng(1).uniform(0.9, 1, size=(48, 512)).astype(np.float32)
    weight[::2] *= -1
    integers, scales = quantise(weight)
    expected = integers.astype(np.int64).sum(axis=1) * (255 - 128) * scales.astype(np.float64)
    model, _ = pixel_graph(Int8Linear(quantise), weight)
    pixels = np.full((rows, 512), 255, dtype=np.uint8)
    return run(model, directory, pixels, whole_sums=whole_sums), np.tile(expected, (rows, 1))


@pytest.mark.parametrize("rows", [1, 2, 5, 32])
def test_int8_sums_are_whole_on_every_processor(tmp_path: Path, rows: int) -> None:
    result, expected = bright_sums(tmp_path, rows, quantise_weight)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_int8_sums_of_older_bundles(tmp_path: Path) -> None:
    """Weights in all of 8 bits: whole sums are an option of the session, and without it AVX2 has others."""

    def wide(weight: Any) -> Any:
        return round_weight(weight, np.abs(weight).max(axis=1))

    result, expected = bright_sums(tmp_path, 5, wide, whole_sums=True)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    if "avx2" in flags() and "vnni" not in flags():
        assert not np.allclose(bright_sums(tmp_path, 5, wide)[0], expected, rtol=0.01)


def flags() -> str:
    """What the processor can do, as far as Linux tells."""
    about = Path("/proc/cpuinfo")
    return about.read_text() if about.exists() else ""


@pytest.mark.parametrize(
    ("writer", "tolerance"),
    [(FloatLinear(np.float32), 1e-5), (FloatLinear(np.float16), 5e-3), (Int8Linear(), 3e-2)],
    ids=["fp32", "fp16", "int8"],
)
@pytest.mark.parametrize("changes", [{}, {"do_normalize": False}, {"do_rescale": False}], ids=str)
def test_normalisation_folds_into_the_patch_convolution(
    tmp_path: Path, writer: LinearWriter, tolerance: float, changes: dict[str, Any]
) -> None:
    rule = preprocess_rule(8, **changes)
    weight = (RANDOM.normal(size=(12, 3, 8, 8)) * 0.05).astype(np.float32)
    pixels = RANDOM.integers(0, 256, size=(5, 8, 8, 3), dtype=np.uint8)
    normal = pixels.astype(np.float64) * (rule.rescale_factor if rule.do_rescale else 1)
    if rule.do_normalize:
        normal = (normal - np.array(rule.mean)) / np.array(rule.std)
    channels_first = torch.from_numpy(normal.transpose(0, 3, 1, 2).copy())
    expected = torch.nn.functional.conv2d(channels_first, torch.from_numpy(weight).double()).numpy()[:, :, 0, 0]
    folded, offset = fold_normalisation(weight, rule)
    model, shift = pixel_graph(writer, folded)
    result = run(model, tmp_path, pixels.reshape(5, -1)) + offset + shift
    assert np.abs(result - expected).max() <= tolerance * np.abs(expected).max()
