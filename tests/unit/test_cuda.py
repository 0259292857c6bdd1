"""What fits on a GPU, reckoned before anything is placed there."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.clustered_vectors import clustered
from clipsearch import cuda
from clipsearch.cuda import HandedVectors, Room, uploaded, why_no_gpu
from clipsearch.encoders.cuda import padded_length
from clipsearch.encoders.load import load_encoders
from clipsearch.encoders.manifest import load_bundle
from clipsearch.encoders.nvjpeg import BYTES_PER_PIXEL, MOST_PIXELS
from clipsearch.errors import DeviceUnavailable, OutOfMemory
from clipsearch.gpu_plan import check_fits, decoder_parts, index_parts, tower_parts
from clipsearch.index.gpu import ONE, Gpus, needs
from clipsearch.index.gpu_device import SCRATCH_BYTES
from clipsearch.index.manifest import MANIFEST
from clipsearch.index.rules import Kind
from clipsearch.index.storage import newest_snapshot, read_ivfpq
from clipsearch.settings import MIB, Settings
from tests.integration.support import SAMPLE_BUNDLE
from tests.unit.index.conftest import build

GIB = 2**30


def test_what_is_handed_over_is_a_plain_array_to_everybody_else() -> None:
    vectors = np.eye(4, dtype=np.float32)
    there = object()
    handed = HandedVectors.of(vectors, there)
    assert handed.on_gpu is there and np.shares_memory(handed, vectors)
    np.testing.assert_array_equal(handed, vectors)
    # What lies on the GPU is all of them, in their order: nothing else may point to it.
    for made in (handed[1:], handed[[0, 2]], handed[0], handed.copy(), handed + 0, handed.T):
        assert made.on_gpu is None  # type: ignore[union-attr]
    assert all(row.on_gpu is None for row in handed)


def test_vectors_go_up_unless_they_lie_on_the_very_gpu_that_asks() -> None:
    def cupy_on(number: int) -> ModuleType:
        runtime = SimpleNamespace(getDevice=lambda: number)
        return cast(ModuleType, SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), asarray=lambda one: ("up", one)))

    there: Any = SimpleNamespace(device=SimpleNamespace(id=1))
    handed = HandedVectors.of(np.eye(4, dtype=np.float32), there)
    assert uploaded(cupy_on(1), handed) is there
    for number, vectors in ((0, handed), (1, handed[:2]), (1, np.eye(4, dtype=np.float32))):
        way, sent = uploaded(cupy_on(number), vectors)
        assert way == "up" and type(sent) is np.ndarray
        np.testing.assert_array_equal(sent, vectors)


@pytest.mark.parametrize(
    ("count", "reason"),
    [(1, None), (0, "there is none"), (None, "cudaErrorInsufficientDriver: CUDA driver version is insufficient")],
)
def test_why_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, count: int | None, reason: str | None) -> None:
    class CUDARuntimeError(RuntimeError):
        """As CuPy raises it."""

    def asked() -> int:
        if count is None:
            raise CUDARuntimeError(reason)
        return count

    runtime = SimpleNamespace(getDeviceCount=asked, CUDARuntimeError=CUDARuntimeError)
    monkeypatch.setattr(cuda, "import_cupy", lambda: SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    why_no_gpu.cache_clear()
    try:
        assert why_no_gpu() == reason
    finally:
        why_no_gpu.cache_clear()


def test_without_cupy_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    why_no_gpu.cache_clear()
    try:
        reason = why_no_gpu()
    finally:
        why_no_gpu.cache_clear()
    assert reason is not None and "CuPy, of the gpu extra, which cannot be had" in reason


@pytest.mark.parametrize(
    ("tokens", "longest", "places"),
    [(2, 77, 8), (8, 77, 8), (9, 77, 16), (33, 77, 48), (65, 77, 77), (77, 77, 77), (33, 40, 40), (40, 40, 40)],
)
def test_texts_are_padded_to_a_few_lengths_and_never_beyond_the_models(tokens: int, longest: int, places: int) -> None:
    assert padded_length(tokens, longest) == places


def test_texts_whose_longest_is_not_known_are_padded_up_to_the_last_length() -> None:
    assert [padded_length(tokens, None) for tokens in (5, 64, 65, 200)] == [8, 64, 65, 200]


def test_what_fits_leaves_the_rest() -> None:
    assert Room(10 * GIB, 16 * GIB).less("an index", {"codes": 3 * GIB, "scratch": GIB}) == 6 * GIB
    assert Room(4 * GIB, 16 * GIB).less("an index", {"codes": 3 * GIB, "scratch": GIB}) == 0


def test_what_does_not_fit_is_refused_with_the_sums() -> None:
    with pytest.raises(DeviceUnavailable) as refused:
        Room(GIB // 2, 16 * GIB).less("an index of 1,000 vectors", {"codes": 3 * GIB // 2, "scratch": GIB})
    assert refused.value.message.startswith(
        "an index of 1,000 vectors needs 2.50 GiB on the GPU (1.50 of codes, 1.00 of scratch), "
        "and 0.50 of its 16.00 GiB are free"
    )


def test_an_index_is_as_large_as_its_codes(tmp_path: Path) -> None:
    manifest = build(tmp_path, clustered(2_000, 16, 20), Kind.IVFPQ).manifest
    ivf = read_ivfpq(newest_snapshot(tmp_path), manifest)
    assert needs(manifest, ONE) == {
        "codes": ivf.ntotal * (ivf.code_size + 8),
        "centroids": ivf.nlist * ivf.d * 4,
        "scratch": SCRATCH_BYTES,
    }


def test_shards_share_the_codes_and_replicas_do_not(tmp_path: Path) -> None:
    manifest = build(tmp_path, clustered(2_001, 16, 20), Kind.IVFPQ).manifest
    whole = needs(manifest, ONE)
    assert needs(manifest, Gpus(4)) == {**whole, "codes": 501 * (whole["codes"] // 2_001)}
    assert needs(manifest, Gpus(4, "replicas")) == whole


def test_an_exact_index_needs_room_to_compute_in(tmp_path: Path) -> None:
    assert needs(build(tmp_path, clustered(200, 16, 20), Kind.FLAT).manifest, ONE) == {"scratch": SCRATCH_BYTES}


def settings(**more: object) -> Settings:
    return Settings.model_validate({"bundle": SAMPLE_BUNDLE, "device": "cpu", **more})


def test_towers_take_their_weights_and_what_is_staged() -> None:
    bundle, given = (
        load_bundle(SAMPLE_BUNDLE),
        settings(image_batch_items=8, text_batch_tokens=512, text_batch_items=64),
    )
    parts = tower_parts(given, bundle)
    assert parts["text weights"] == (bundle.path / "text.weights").stat().st_size
    assert parts["image weights"] == (bundle.path / "image.weights").stat().st_size
    pixels, floats = 3 * bundle.manifest.image_size**2, 4 * bundle.manifest.dimension
    assert parts["staging"] == 2 * (512 * 8 + 8 * pixels + (64 + 8) * floats)


def test_towers_take_what_they_may() -> None:
    parts = tower_parts(settings(gpu_tower_mib=100), load_bundle(SAMPLE_BUNDLE))
    assert (parts["text tower"], parts["image tower"]) == (100 * MIB, 100 * MIB)


def test_towers_that_may_take_less_than_their_weights_are_refused() -> None:
    with pytest.raises(DeviceUnavailable, match=r"weights of the text tower are \d+ MiB, and gpu_tower_mib is 1;"):
        tower_parts(settings(gpu_tower_mib=1), load_bundle(SAMPLE_BUNDLE))


def test_jpegs_take_what_as_many_of_them_may_as_are_decoded_at_once() -> None:
    assert decoder_parts(settings(decode_threads=3)) == {"decoding": 3 * MOST_PIXELS * BYTES_PER_PIXEL}
    assert decoder_parts(settings(decode_threads=2, max_image_pixels=1000)) == {"decoding": 2000 * BYTES_PER_PIXEL}


def test_indexes_of_all_collections_are_counted_but_for_those_that_cannot_be_read(tmp_path: Path) -> None:
    manifests = [build(tmp_path / name, clustered(2_000, 16, 20), Kind.IVFPQ).manifest for name in ("one", "two")]
    build(tmp_path / "torn", clustered(200, 16, 20), Kind.FLAT)
    (newest_snapshot(tmp_path / "torn") / MANIFEST).write_text("{")
    (tmp_path / "empty").mkdir()
    parts = index_parts(tmp_path)
    assert parts["index scratch"] == 2 * SCRATCH_BYTES
    assert parts["index codes"] == sum(needs(manifest, ONE)["codes"] for manifest in manifests)


def test_on_a_cpu_nothing_is_counted(tmp_path: Path) -> None:
    check_fits(settings(gpu_tower_mib=1), load_bundle(SAMPLE_BUNDLE), tmp_path)


def test_the_largest_batches_are_run_and_are_refused_where_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    encoders = load_encoders(SAMPLE_BUNDLE)
    sizes: list[Sequence[int]] = []
    run = encoders.text.warm_up
    monkeypatch.setattr(encoders.text, "warm_up", lambda given: (sizes.append(given), run(given)))
    encoders.take_memory(10 * encoders.text.context_length + 1, 2)
    assert sizes == [(10,)]

    def none(_: Sequence[int]) -> None:
        raise OutOfMemory("the encoder found no memory")

    monkeypatch.setattr(encoders.image, "warm_up", none)
    with pytest.raises(DeviceUnavailable, match="lower text_batch_tokens and image_batch_items"):
        encoders.take_memory(512, 2)
