"""Tiny checkpoints through the whole export, then served by the encoders."""

import io
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from clipsearch.encoders.load import Encoders, load_encoders
from clipsearch.encoders.manifest import PRECISIONS, Precision, load_bundle
from clipsearch.encoders.packing import every_place
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.errors import UnusableBundle
from clipsearch_export.bundle import Exported, executed_kernels, export_checkpoint
from clipsearch_export.parity import REQUIREMENTS
from tests.integration.export_support import CONTEXT_LENGTH, IMAGE_SIZE, LAYERS, tiny_checkpoint

pytestmark = pytest.mark.export

CPU = RuntimeOptions(device="cpu", threads=1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Checkpoints by whether they hold the legacy eos id."""
    return {
        legacy: tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", legacy_eos=legacy)
        for legacy in (False, True)
    }


@pytest.fixture(scope="module")
def exported(checkpoints: dict[bool, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """Give a function that exports each combination once."""
    done: dict[tuple[Precision, bool], Exported] = {}

    def get(precision: Precision, legacy: bool = False) -> Exported:
        if (precision, legacy) not in done:
            out = tmp_path_factory.mktemp("bundles") / precision
            done[precision, legacy] = export_checkpoint(checkpoints[legacy], out, precision)
        return done[precision, legacy]

    return get


@pytest.fixture(scope="module", params=PRECISIONS)
def encoders(request: pytest.FixtureRequest, exported: Callable[..., Exported]) -> Encoders:
    """Encoders of each precision, loaded as a server loads them."""
    loaded = load_encoders(exported(request.param).bundle.path, CPU)
    loaded.warm_up()
    return loaded


def pixels(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    shades = random.integers(0, 256, size=(count, 8, 8, 3), dtype=np.uint8)
    return [np.ascontiguousarray(shade.repeat(IMAGE_SIZE // 8, 0).repeat(IMAGE_SIZE // 8, 1)) for shade in shades]


@pytest.mark.parametrize("legacy", [False, True], ids=["first-eos", "largest-id"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_gate_and_manifest(exported: Callable[..., Exported], precision: Precision, legacy: bool) -> None:
    result = exported(precision, legacy)
    manifest = load_bundle(result.bundle.path).manifest
    for comparison in (result.report.text, result.report.image):
        assert comparison.figure.cases >= 64
        assert comparison.figure.min_cosine >= REQUIREMENTS[precision].min_cosine
        assert comparison.figure.mean_cosine >= REQUIREMENTS[precision].mean_cosine
        assert comparison.spread < 0.9, "inputs are hardly told apart, so parity proves nothing"
    assert manifest.parity == result.report.parity
    assert (manifest.attention_nodes.text, manifest.attention_nodes.image) == (LAYERS, LAYERS)
    assert (manifest.dimension, manifest.context_length, manifest.image_size) == (48, CONTEXT_LENGTH, IMAGE_SIZE)
    assert (manifest.precision, manifest.opset, manifest.source) == (precision, 23, "tiny")
    assert manifest.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert set(manifest.files) >= {"tokenizer.json", "text.onnx", "text.weights", "image.onnx", "image.weights"}


def test_who_can_read_one_file_can_read_all(exported: Callable[..., Exported]) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in exported("fp32").bundle.path.iterdir()}
    assert {"text.onnx", "text.weights", "manifest.json"} <= modes.keys()
    assert len(set(modes.values())) == 1, modes


def test_precisions_share_the_weight_hash(exported: Callable[..., Exported]) -> None:
    assert len({exported(precision).bundle.manifest.weight_hash for precision in PRECISIONS}) == 1


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh"])
def test_other_activations(tmp_path: Path, activation: str) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "tiny", activation=activation)
    report = export_checkpoint(checkpoint, tmp_path / "bundle").report
    assert min(report.text.figure.min_cosine, report.image.figure.min_cosine) > 0.99999


@pytest.mark.parametrize("precision", PRECISIONS)
def test_texts_are_packed_where_the_cpu_serves_them(exported: Callable[..., Exported], precision: Precision) -> None:
    text = load_encoders(exported(precision).bundle.path, CPU).text
    assert (text.padding_cost < 1.0) == (precision != "fp16")


def test_texts_do_not_depend_on_their_neighbours(encoders: Encoders) -> None:
    texts = ["", "a red shirt", "striped cotton coat with long and short and blue and green", "shoe " * 40]
    ids = [encoders.tokenizer(text).ids for text in texts]
    together = encoders.text.encode(ids)
    alone = np.concatenate([encoders.text.encode([row]) for row in ids])
    np.testing.assert_allclose(together, alone, atol=2e-3 if encoders.manifest.precision == "fp16" else 2e-6)


def test_texts_that_begin_alike_are_embedded_each_for_itself(encoders: Encoders) -> None:
    beginnings = ["red", "red shoe", "red shoe and blue bag", "red shoe and blue shirt", "blue", "blue shoe"]
    ids = [encoders.tokenizer(text).ids for text in [*beginnings, *reversed(beginnings), "red" + " shoe" * 9]]
    together = encoders.text.encode(ids)
    alone = np.concatenate([encoders.text.encode([row]) for row in ids])
    np.testing.assert_allclose(together, alone, atol=2e-3 if encoders.manifest.precision == "fp16" else 2e-6)
    apart = together[:6] @ together[:6].T
    assert apart[~np.eye(6, dtype=bool)].max() < 1 - 1e-4, "the texts are not told apart, so nothing is compared"


def test_pictures_do_not_depend_on_their_neighbours(encoders: Encoders) -> None:
    batch = pixels(7)
    together = encoders.image.encode(batch)
    alone = np.concatenate([encoders.image.encode([picture]) for picture in batch])
    np.testing.assert_allclose(together, alone, atol=2e-3 if encoders.manifest.precision == "fp16" else 2e-6)


def test_many_threads_share_a_session(encoders: Encoders) -> None:
    batches = [[encoders.tokenizer("red shoe " * n).ids] * (1 + n % 4) for n in range(12)]
    alone = [encoders.text.encode(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for n, vectors in enumerate(pool.map(encoders.text.encode, batches * 5)):
            assert np.array_equal(vectors, alone[n % len(batches)])


def test_natural_length_equals_full_length(encoders: Encoders) -> None:
    """Attention is causal in the kernel that runs: what comes after the end token changes nothing."""
    ids = encoders.tokenizer("a photo of a red shirt").ids
    natural = encoders.text.encode([ids])
    for filler in (encoders.manifest.pad_id, 5):
        full = np.full(CONTEXT_LENGTH, filler, dtype=np.int64)
        full[: len(ids)] = ids
        tolerance = 2e-3 if encoders.manifest.precision == "fp16" else 2e-6
        np.testing.assert_allclose(encoders.text.encode([full]), natural, atol=tolerance)


def test_earlier_tokens_do_count(encoders: Encoders) -> None:
    one, other = (encoders.text.encode([encoders.tokenizer(text).ids])[0] for text in ("red shirt", "blue shirt"))
    assert one @ other < 0.99


def test_vectors_are_float32_of_unit_length(encoders: Encoders) -> None:
    for vectors in (encoders.image.encode(pixels(3)), encoders.text.encode([encoders.tokenizer("a bag").ids] * 2)):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_bytes_to_vector(encoders: Encoders) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels(1)[0]).resize((200, 150)).save(buffer, "JPEG")
    assert encoders.image.encode([encoders.preprocessor(buffer.getvalue())]).shape == (1, 48)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_kernels_are_the_fused_ones(exported: Callable[..., Exported], precision: Precision) -> None:
    bundle = exported(precision).bundle
    text = executed_kernels(bundle.text_graph, {"ids": np.ones((2, 5), dtype=np.int64), **every_place(2, 5)})
    image = executed_kernels(bundle.image_graph, {"pixels": np.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)})
    for kernels, norms in ((text, 2 * LAYERS + 1), (image, 2 * LAYERS + 2)):
        assert kernels["Attention"] == LAYERS
        assert kernels["LayerNormalization"] == norms
        assert kernels["QuickGelu"] == LAYERS
        assert kernels["Softmax"] == 0
        if precision == "fp32":
            assert kernels["Gemm"] == 6 * LAYERS
        if precision == "int8":
            assert kernels["MatMulIntegerToFloat"] == 6 * LAYERS + (kernels is image)
            assert kernels["Gemm"] == 0


def test_int8_bundles_carry_no_float_copy(exported: Callable[..., Exported]) -> None:
    def weight_bytes(precision: Precision) -> dict[str, int]:
        model = onnx.load(str(exported(precision).bundle.image_graph))
        return {tensor.name: len(tensor.raw_data) for tensor in model.graph.initializer}

    assert sum(weight_bytes("int8").values()) < 0.35 * sum(weight_bytes("fp32").values())


def test_a_tampered_bundle_is_refused(exported: Callable[..., Exported], tmp_path: Path) -> None:
    source = exported("fp32").bundle.path
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    load_encoders(copy, CPU)
    weights = bytearray((copy / "text.weights").read_bytes())
    weights[1000] ^= 1
    (copy / "text.weights").write_bytes(weights)
    with pytest.raises(UnusableBundle, match=r"text\.weights does not match"):
        load_encoders(copy, CPU)
