"""JPEGs decoded on a GPU against the same by Pillow."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.workload import made_pictures
from clipsearch.encoders.load import load_encoders
from clipsearch.encoders.nvjpeg import NvJpeg
from clipsearch.encoders.preprocess import PillowPreprocessor
from clipsearch.encoders.resize import resize_by_pillow
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.errors import CorruptImage
from clipsearch.ports import Pixels
from tests.gpu.marks import on_a_gpu
from tests.unit.encoders.helpers import header_of, needs_nvimagecodec, preprocess_rule, whole

BUNDLE = Path(__file__).parents[2] / "demo/clipsearch_demo/model/bundle"
PICTURES = made_pictures(16, 0)

pytestmark = [*on_a_gpu, needs_nvimagecodec]


@pytest.fixture(scope="module")
def decoder() -> NvJpeg:
    return NvJpeg()


def reencoded(data: bytes, **options: object) -> bytes:
    out = BytesIO()
    Image.open(BytesIO(data)).save(out, "JPEG", **options)
    return out.getvalue()


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"restart_marker_blocks": 4}])
def test_pixels_are_pillows_but_for_what_is_rounded_otherwise(decoder: NvJpeg, options: dict[str, object]) -> None:
    data = reencoded(PICTURES[0], quality=90, **options)
    pixels = decoder(data, header_of(data), whole(data))
    assert pixels is not None
    apart = np.abs(pixels.astype(int) - np.asarray(Image.open(BytesIO(data))))
    # Other colours, or other places, would be tens of levels apart. What it does to embeddings is looked at below.
    assert apart.mean() < 2.0
    assert np.quantile(apart, 0.999) <= 16


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 400)])
def test_what_is_done_to_pixels_there_is_what_pillow_does(
    decoder: NvJpeg, orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(BytesIO(PICTURES[0])) as picture, BytesIO() as out:
        picture.resize(size).save(out, "JPEG", quality=90, exif=exif)
        data = out.getvalue()
    decoded = decoder(data, header_of(data), whole(data))
    assert decoded is not None
    with BytesIO() as out:
        Image.fromarray(decoded).save(out, "PNG", exif=exif)
        lossless = out.getvalue()
    rule = preprocess_rule(64)
    right = PillowPreprocessor(rule, 64, resize=resize_by_pillow)(lossless)
    np.testing.assert_array_equal(PillowPreprocessor(rule, 64, jpegs=decoder)(data), right)


def test_embeddings_are_the_same() -> None:
    cpu = load_encoders(BUNDLE, RuntimeOptions("cpu"))
    rule, size = cpu.manifest.preprocess, cpu.manifest.image_size
    ways = PillowPreprocessor(rule, size, jpegs=NvJpeg()), PillowPreprocessor(rule, size)
    mine, right = (cpu.image.encode([way(data) for data in PICTURES]) for way in ways)
    assert (mine * right).sum(axis=1).min() >= 0.999


def test_what_is_cut_off_is_refused(decoder: NvJpeg) -> None:
    rule = load_encoders(BUNDLE, RuntimeOptions("cpu")).manifest
    preprocess = PillowPreprocessor(rule.preprocess, rule.image_size, jpegs=decoder)
    for cut in (-2, -1, len(PICTURES[0]) // 2):
        with pytest.raises(CorruptImage, match="truncated"):
            preprocess(PICTURES[0][:cut])


def test_threads_get_the_same_as_one(decoder: NvJpeg) -> None:
    def decoded(data: bytes) -> Pixels | None:
        return decoder(data, header_of(data), whole(data))

    alone = [decoded(data) for data in PICTURES]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(decoded, [*PICTURES, *PICTURES]))
    for number, pixels in enumerate(together):
        expected = alone[number % len(PICTURES)]
        assert pixels is not None
        assert expected is not None
        np.testing.assert_array_equal(pixels, expected)
