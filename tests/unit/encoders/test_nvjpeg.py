"""JPEGs by nvImageCodec, here by its decoder for the CPU, and what is left to Pillow. tests/gpu has the GPU's own."""

import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from clipsearch.encoders import nvjpeg
from clipsearch.encoders.framing import Frame
from clipsearch.encoders.nvjpeg import MOST_PIXELS, NvJpeg
from clipsearch.encoders.preprocess import ImageLimits, PillowPreprocessor
from clipsearch.encoders.resize import resize_by_pillow
from clipsearch.errors import CorruptImage, DeviceUnavailable, TooManyPixels, UnsupportedImage
from clipsearch.ports import Pixels
from tests.unit.encoders.helpers import encode, header_of, needs_nvimagecodec, photo, preprocess_rule, whole

pytestmark = needs_nvimagecodec

SIZE = 64


class Asked:
    """A decoder that counts what it was asked for, and what it decoded."""

    def __init__(self) -> None:
        self._decode = NvJpeg(on_gpu=False)
        self.asked = self.decoded = 0

    def __call__(self, data: bytes, header: JpegImageFile, frame: Frame) -> Pixels | None:
        pixels = self._decode(data, header, frame)
        self.asked += 1
        self.decoded += pixels is not None
        return pixels


@pytest.fixture(scope="module")
def decoder() -> NvJpeg:
    return NvJpeg(on_gpu=False)


@pytest.fixture
def asked() -> Asked:
    return Asked()


def turned(picture: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(picture, "JPEG", quality=90, exif=exif)


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 85},
        {"quality": 95, "subsampling": 0},
        {"quality": 70, "subsampling": 1},
        {"progressive": True},
        {"restart_marker_blocks": 4},
        {"optimize": True},
    ],
)
@pytest.mark.parametrize("size", [(512, 384), (333, 257), (16, 900)])
def test_pixels_are_those_of_pillow(decoder: NvJpeg, options: dict[str, object], size: tuple[int, int]) -> None:
    data = encode(photo(*size), "JPEG", **options)
    pixels = decoder(data, header_of(data), whole(data))
    assert pixels is not None
    # Both are libjpeg-turbo here, so they are the same to the last level.
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(BytesIO(data))))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_turns_them(asked: Asked, orientation: int) -> None:
    data = turned(photo(300, 200), orientation)
    rule = preprocess_rule(SIZE)
    mine = PillowPreprocessor(rule, SIZE, jpegs=asked)(data)
    np.testing.assert_array_equal(mine, PillowPreprocessor(rule, SIZE, resize=resize_by_pillow)(data))
    assert asked.decoded == 1


def without_segment(data: bytes, marker: bytes) -> bytes:
    start = data.index(marker)
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :]


def test_what_it_does_not_decode_is_left_to_pillow(asked: Asked) -> None:
    rgb = encode(photo(300, 200), "JPEG", keep_rgb=True)
    pictures = {
        "grey": encode(photo(300, 200).convert("L"), "JPEG"),
        "four colours": encode(photo(300, 200).convert("CMYK"), "JPEG"),
        "not YCbCr, as Adobe marks it": rgb,
        "not YCbCr by the names of its colours": without_segment(rgb, b"\xff\xee"),
        "something behind its end": encode(photo(300, 200), "JPEG") + b"\0\0",
    }
    rule = preprocess_rule(SIZE)
    for data in pictures.values():
        mine = PillowPreprocessor(rule, SIZE, jpegs=asked)(data)
        np.testing.assert_array_equal(mine, PillowPreprocessor(rule, SIZE)(data))
    assert (asked.asked, asked.decoded) == (len(pictures), 0)


def test_only_jpegs_are_asked_for(asked: Asked) -> None:
    for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF"):
        PillowPreprocessor(preprocess_rule(SIZE), SIZE, jpegs=asked)(encode(photo(100, 80), kind))
    assert asked.asked == 0


def test_large_pictures_are_left_to_pillow(decoder: NvJpeg) -> None:
    edge = int(MOST_PIXELS**0.5)
    fits, large = (encode(Image.new("RGB", (edge, height)), "JPEG") for height in (edge, edge + 8))
    assert decoder(fits, header_of(fits), whole(fits)) is not None
    assert decoder(large, header_of(large), whole(large)) is None


def test_filters_that_a_gpu_does_not_know_are_left_to_pillow(asked: Asked) -> None:
    rule, data = preprocess_rule(SIZE, resample=Image.Resampling.HAMMING.value), encode(photo(100, 80), "JPEG")
    mine = PillowPreprocessor(rule, SIZE, jpegs=asked)(data)
    np.testing.assert_array_equal(mine, PillowPreprocessor(rule, SIZE)(data))
    assert (asked.asked, asked.decoded) == (1, 0)


def test_what_is_no_picture_for_the_model_is_refused_before_it_is_decoded(asked: Asked) -> None:
    rule = preprocess_rule(SIZE, do_center_crop=False)
    with pytest.raises(UnsupportedImage, match="comes out as 8000 x 64 pixels"):
        PillowPreprocessor(rule, SIZE, jpegs=asked)(encode(photo(1000, 8), "JPEG"))
    assert asked.asked == 0


def test_limits_come_first(asked: Asked) -> None:
    with pytest.raises(TooManyPixels):
        PillowPreprocessor(preprocess_rule(SIZE), SIZE, ImageLimits(max_pixels=1000), jpegs=asked)(
            encode(photo(100, 80), "JPEG")
        )
    assert asked.asked == 0


def test_what_is_cut_off_is_refused_in_pillows_words(asked: Asked, capfd: pytest.CaptureFixture[str]) -> None:
    data = encode(photo(512, 384), "JPEG")
    for cut in (len(data) - 2, len(data) // 2, len(data) - 1):
        with pytest.raises(CorruptImage, match="truncated"):
            PillowPreprocessor(preprocess_rule(SIZE), SIZE, jpegs=asked)(data[:cut])
    # Without any pixels, and ended as if it were whole: nothing can be decoded, and nothing is said of it in the log.
    with pytest.raises(CorruptImage):
        PillowPreprocessor(preprocess_rule(SIZE), SIZE, jpegs=asked)(data[: data.index(b"\xff\xda")] + b"\xff\xd9")
    assert (asked.asked, asked.decoded) == (4, 0)
    assert "ERROR" not in capfd.readouterr().err


def test_threads_decode_at_once_each_with_its_own(decoder: NvJpeg) -> None:
    pictures = [encode(photo(200 + number, 150), "JPEG") for number in range(24)]
    with ThreadPoolExecutor(4) as threads:
        decoded = list(threads.map(lambda data: decoder(data, header_of(data), whole(data)), pictures))
    for data, pixels in zip(pictures, decoded, strict=True):
        assert pixels is not None
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(BytesIO(data))))


def test_without_nvimagecodec_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    with pytest.raises(DeviceUnavailable, match="nvImageCodec, of the gpu extra, cannot be had"):
        NvJpeg(on_gpu=False)


def test_without_a_gpu_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvjpeg, "why_no_gpu", lambda: "cudaErrorNoDevice")
    with pytest.raises(DeviceUnavailable, match="there is no GPU to decode on: cudaErrorNoDevice"):
        NvJpeg()
