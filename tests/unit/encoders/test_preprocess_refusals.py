"""Bad pictures: each gets its own error, before it costs anything, and none takes the process down."""

import io
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clipsearch.encoders.preprocess import FORMATS, ImageLimits, PillowPreprocessor
from clipsearch.errors import (
    CorruptImage,
    EmptyImage,
    ImageTooLarge,
    InvalidInput,
    TooManyPixels,
    UnsupportedImage,
)
from tests.unit.encoders.helpers import encode, photo, preprocess_rule

PREPROCESS = PillowPreprocessor(preprocess_rule(32), 32)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds hardly any data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def test_empty() -> None:
    with pytest.raises(EmptyImage):
        PREPROCESS(b"")


def test_too_many_bytes_are_not_even_opened() -> None:
    limited = PillowPreprocessor(preprocess_rule(32), 32, ImageLimits(max_bytes=1000))
    with pytest.raises(ImageTooLarge) as caught:
        limited(b"x" * 1001)
    assert caught.value.metadata == {"bytes": "1001", "max_bytes": "1000"}
    with pytest.raises(UnsupportedImage):
        limited(b"x" * 1000)


def test_pixel_limit_is_exact() -> None:
    limited = PillowPreprocessor(preprocess_rule(32), 32, ImageLimits(max_pixels=60 * 40))
    assert limited(encode(photo(60, 40), "PNG")).shape == (32, 32, 3)
    with pytest.raises(TooManyPixels) as caught:
        limited(encode(photo(61, 40), "PNG"))
    assert caught.value.metadata == {"pixels": "2440", "max_pixels": "2400"}


@pytest.mark.parametrize(
    ("width", "height"), [(8_500, 8_500), (10_000, 9_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)]
)
def test_bombs_are_refused_by_their_header(width: int, height: int) -> None:
    """Under and over Pillow's own thresholds, which warn at 89 and fail at 179 megapixels."""
    data = png_header(width, height)
    tracemalloc.start()
    try:
        with pytest.raises(TooManyPixels):
            PREPROCESS(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_where_warnings_are_not_errors() -> None:
    with pytest.raises(TooManyPixels):
        PREPROCESS(png_header(10_000, 9_000))


@pytest.mark.parametrize("data", [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n", bytes(1000)])
def test_not_a_picture(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WEBP, GIF, BMP, TIFF"):
        PREPROCESS(data)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX", "ICNS", "EPS", "PDF", "SGI"])
def test_formats_off_the_list_are_not_decoded(kind: str) -> None:
    with pytest.raises(UnsupportedImage):
        PREPROCESS(encode(photo(32, 32), kind))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated(kind: str, kept: float) -> None:
    data = encode(photo(200, 200), kind)
    with pytest.raises(CorruptImage):
        PREPROCESS(data[: int(len(data) * kept)])


@pytest.mark.parametrize("kind", FORMATS)
def test_only_the_first_bytes(kind: str) -> None:
    data = encode(photo(64, 64), kind)
    for length in range(1, 64):
        with pytest.raises((UnsupportedImage, CorruptImage)):
            PREPROCESS(data[:length])


def test_png_with_a_wrong_checksum() -> None:
    data = bytearray(encode(photo(64, 64), "PNG"))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    with pytest.raises(CorruptImage):
        PREPROCESS(bytes(data))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(FORMATS), seed=st.integers(0, 2**32 - 1), flips=st.integers(1, 40))
def test_mangled_bytes_give_pixels_or_an_error_of_ours(kind: str, seed: int, flips: int) -> None:
    random = np.random.default_rng(seed)
    data = bytearray(encode(photo(48, 40), kind))
    for position in random.integers(0, len(data), size=flips):
        data[position] = random.integers(256)
    try:
        assert PREPROCESS(bytes(data)).shape == (32, 32, 3)
    except InvalidInput as error:
        assert error.message


def test_one_instance_serves_many_threads() -> None:
    pictures = [encode(photo(50 + n, 90 - n), "JPEG") for n in range(16)]
    alone = [PREPROCESS(data) for data in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(PREPROCESS, pictures * 4))
    assert all(np.array_equal(pixels, alone[n % 16]) for n, pixels in enumerate(together))


def test_pillow_settings_are_left_alone() -> None:
    from PIL import ImageFile

    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert Image.MAX_IMAGE_PIXELS == (1024 * 1024 * 1024 // 4 // 3)
    assert Image.open(io.BytesIO(encode(photo(8, 8), "PPM"))).format == "PPM"
