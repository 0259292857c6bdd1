"""What is measured of JPEGs on a GPU, as far as it goes without: nvImageCodec's own decoder for the CPU is asked."""

import numpy as np
import pytest
from PIL.JpegImagePlugin import JpegImageFile

from benchmarks.gpu import jpegs
from benchmarks.gpu.callers import rate
from benchmarks.harness.models import SAMPLE_BUNDLE
from benchmarks.harness.workload import made_pictures
from clipsearch.encoders.framing import Frame
from clipsearch.encoders.load import Encoders, load_encoders
from clipsearch.encoders.nvjpeg import NvJpeg
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.ports import Pixels
from tests.unit.encoders.helpers import needs_nvimagecodec

pytestmark = needs_nvimagecodec


@pytest.fixture(scope="module")
def encoders() -> Encoders:
    return load_encoders(SAMPLE_BUNDLE, RuntimeOptions("cpu"))


def test_parity_tells_how_far_levels_are_apart(encoders: Encoders) -> None:
    decoder = NvJpeg(on_gpu=False)

    def off_by_two(data: bytes, header: JpegImageFile, frame: Frame) -> Pixels | None:
        pixels = decoder(data, header, frame)
        assert pixels is not None
        return np.where(pixels < 254, pixels + 2, pixels - 2).astype(np.uint8)

    same = jpegs.parity(encoders, decoder)
    assert (same["mean_levels"], same["most_levels"]) == (0.0, 0.0)
    assert same["min_cosine"] > 0.99999
    other = jpegs.parity(encoders, off_by_two)
    assert (other["mean_levels"], other["most_levels"]) == (2.0, 2.0)
    assert other["min_cosine"] < same["min_cosine"]


def test_batches_are_decoded_whole() -> None:
    pictures = made_pictures(3, 0, 64)
    for decode in jpegs.batch_ways("cpu").values():
        decoded = decode(pictures)
        assert [one.shape for one in decoded] == [(64, 64, 3)] * 3
        assert decode([pictures[0][:100]]) == [None]


def test_rates_count_pictures_and_not_calls() -> None:
    seen: list[int] = []
    one, _ = rate(seen.append, 1, 0.1, 2)
    many, _ = rate(lambda _: None, 1000, 0.1, 2)
    assert len(set(seen)) == len(seen) > 4
    assert many > 10 * one


def test_the_table_has_a_row_for_each_figure() -> None:
    row = {"size": "512 x 512", "way": "Pillow", "callers": 16, "batch": 1, "pictures_s": 12345.6, "cpu_ms": 0.857}
    assert "| 512 x 512 | Pillow | 16 | 1 | 12,346 | 0.86 ms |" in jpegs.table([row])
