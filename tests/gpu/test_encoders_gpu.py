"""The towers on a GPU against the same towers on the CPU, and what they hand over to an index there."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clipsearch.cuda import HandedVectors, uploaded
from clipsearch.encoders.load import load_encoders
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.index.gpu_device import Device
from clipsearch.index.gpu_index import GpuFlatIndex
from clipsearch.index.rerank import place
from tests.gpu.marks import on_a_gpu

BUNDLE = Path(__file__).parents[2] / "demo/clipsearch_demo/model/bundle"

pytestmark = on_a_gpu


def texts(count: int) -> list[NDArray[np.int64]]:
    """Made-up token ids between the bundle's begin and end, of all lengths."""
    tokenizer = load_encoders(BUNDLE, RuntimeOptions("cpu")).tokenizer
    words = [f"a {'very ' * (i % 9)}red dress with dots {i}" for i in range(count)]
    return [tokenizer(text).ids for text in words]


@pytest.mark.parametrize("count", [1, 3, 64, 100])
def test_the_same_vectors_as_on_the_cpu(count: int) -> None:
    cpu, gpu = (load_encoders(BUNDLE, RuntimeOptions(device)) for device in ("cpu", "cuda"))  # type: ignore[arg-type]
    batch = texts(count)
    rng = np.random.default_rng(0)
    size = cpu.image.image_size
    pictures = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]
    # Three times: the first run of a shape is not captured, the second is, and the third is replayed.
    for _ in range(3):
        for mine, right in (
            (gpu.text.encode(batch), cpu.text.encode(batch)),
            (gpu.image.encode(pictures), cpu.image.encode(pictures)),
        ):
            assert mine.shape == right.shape
            assert (mine * right).sum(axis=1).min() >= 0.999


def test_texts_of_all_lengths_that_the_model_takes() -> None:
    cpu, gpu = (load_encoders(BUNDLE, RuntimeOptions(device)).text for device in ("cpu", "cuda"))  # type: ignore[arg-type]
    ids = texts(1)[0]
    longest = cpu.context_length
    batch = [np.r_[ids[0], np.full(length - 2, ids[1]), ids[-1]] for length in range(2, longest + 1)]
    for some in (batch, batch[-1:], batch[-3:]):
        assert (gpu.encode(some) * cpu.encode(some)).sum(axis=1).min() >= 0.999


def test_vectors_stay_on_the_gpu_whatever_is_encoded_next() -> None:
    text = load_encoders(BUNDLE, RuntimeOptions("cuda")).text
    device = Device(0)
    kept = [text.encode(texts(count)) for count in (5, 64, 5, 100, 7)]
    with device.current():
        for vectors in kept:
            assert isinstance(vectors, HandedVectors)
            assert uploaded(device.cupy, vectors) is vectors.on_gpu
            np.testing.assert_array_equal(device.cupy.asnumpy(vectors.on_gpu), np.asarray(vectors))
            part = uploaded(device.cupy, vectors[1:3])
            np.testing.assert_array_equal(device.cupy.asnumpy(part), np.asarray(vectors[1:3]))


def test_an_index_finds_the_same_for_vectors_that_were_handed_over() -> None:
    text = load_encoders(BUNDLE, RuntimeOptions("cuda")).text
    matrix = np.asarray(text.encode(texts(200))).astype(np.float16)
    device = Device(0)
    with device.current():
        resident = place(matrix, 1 << 30)
    index = GpuFlatIndex(device, matrix, resident)
    queries = text.encode(texts(50))
    scores, found = index.search(queries, 10)
    again, same = index.search(np.array(queries), 10)
    np.testing.assert_array_equal(found, same)
    np.testing.assert_array_equal(scores, again)
