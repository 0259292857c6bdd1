"""Preprocessing against transformers' CLIPImageProcessor, and what it leaves to its caller."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from clipsearch.encoders.manifest import PreprocessRule
from clipsearch.encoders.preprocess import ImageLimits, PillowPreprocessor
from clipsearch.encoders.resize import resize_by_pillow
from tests.unit.encoders.helpers import encode, photo, preprocess_rule

SIZES = [
    (1, 1), (1, 2), (2, 1), (5, 4), (31, 32), (32, 32), (32, 33), (33, 32), (45, 64), (64, 45), (63, 101), (101, 63),
    (223, 224), (224, 224), (300, 225), (225, 300), (640, 427), (427, 640), (999, 501), (1024, 768),
    (500, 33), (33, 500), (2000, 9), (60, 4000), (1, 100),
]  # fmt: skip
MODES = ["RGB", "L", "1", "P", "CMYK", "YCbCr", "I", "F"]


def reference(picture: Image.Image, rule: PreprocessRule) -> np.ndarray[Any, Any]:
    """What CLIPImageProcessor makes of a picture, before it rescales: uint8 [size, size, 3]."""
    transformers = pytest.importorskip("transformers")
    processor = transformers.CLIPImageProcessor(
        do_resize=rule.do_resize,
        size={"shortest_edge": rule.shortest_edge}
        if rule.shortest_edge
        else {"height": rule.resize_to[0], "width": rule.resize_to[1]}
        if rule.resize_to
        else None,
        resample=rule.resample,
        do_center_crop=rule.do_center_crop,
        crop_size={"height": rule.crop_size[0], "width": rule.crop_size[1]} if rule.crop_size else None,
        do_rescale=False,
        do_normalize=False,
    )
    output = processor(picture, input_data_format="channels_last", data_format="channels_last")
    return np.asarray(output["pixel_values"][0])


def difference(data: bytes, picture: Image.Image, rule: PreprocessRule) -> int:
    """The largest difference in levels between our pixels and the reference's, resized by Pillow as those are."""
    assert rule.crop_size is not None
    ours = PillowPreprocessor(rule, rule.crop_size[0], resize=resize_by_pillow)(data)
    return int(np.abs(ours.astype(int) - reference(picture, rule).astype(int)).max())


@pytest.mark.export
@pytest.mark.parametrize("size", [32, 63, 224])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_sizes_are_bit_equal(width: int, height: int, size: int) -> None:
    picture = photo(width, height)
    assert difference(encode(picture, "PNG"), picture, preprocess_rule(size)) == 0


@pytest.mark.export
@pytest.mark.parametrize("size", [32, 63, 224])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_as_served_a_few_pixels_are_a_level_off(width: int, height: int, size: int) -> None:
    picture, rule = photo(width, height), preprocess_rule(size)
    ours = PillowPreprocessor(rule, size)(encode(picture, "PNG"))
    off = np.abs(ours.astype(int) - reference(picture, rule).astype(int))
    assert off.max() <= 2
    assert off.mean() < 0.02


@pytest.mark.export
@pytest.mark.parametrize("resample", list(Image.Resampling), ids=lambda filter_: filter_.name)
def test_filters_are_bit_equal(resample: Image.Resampling) -> None:
    picture = photo(211, 97)
    assert difference(encode(picture, "PNG"), picture, preprocess_rule(64, resample=int(resample))) == 0


@pytest.mark.export
@pytest.mark.parametrize("mode", MODES)
def test_modes_are_bit_equal(mode: str) -> None:
    picture = photo(120, 90).quantize(64) if mode == "P" else photo(120, 90).convert("L" if mode in "IF" else mode)
    picture = picture.convert(mode)
    kind = "TIFF" if mode in {"CMYK", "YCbCr", "I", "F"} else "PNG"
    assert difference(encode(picture, kind), picture, preprocess_rule(64)) == 0


@pytest.mark.export
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats_are_bit_equal(kind: str) -> None:
    data = encode(photo(257, 131), kind)
    assert difference(data, Image.open(io.BytesIO(data)), preprocess_rule(96)) == 0


@pytest.mark.export
@pytest.mark.parametrize(("width", "height"), [(40, 60), (65, 65), (50, 400), (33, 34)])
@pytest.mark.parametrize(("edge", "crop"), [(20, 64), (33, 64), (63, 64), (64, 33), (31, 30)])
def test_crop_larger_or_smaller_than_the_resize(width: int, height: int, edge: int, crop: int) -> None:
    picture = photo(width, height)
    rule = preprocess_rule(edge, crop_size=(crop, crop))
    assert difference(encode(picture, "PNG"), picture, rule) == 0


@pytest.mark.export
def test_without_crop_the_aspect_goes() -> None:
    picture = photo(120, 77)
    rule = preprocess_rule(48, shortest_edge=None, resize_to=(48, 48), do_center_crop=False)
    assert difference(encode(picture, "PNG"), picture, rule) == 0


@pytest.mark.export
def test_without_resize_only_the_middle_is_kept() -> None:
    picture = photo(120, 77)
    rule = preprocess_rule(48, do_resize=False)
    assert difference(encode(picture, "PNG"), picture, rule) == 0


@pytest.mark.export
@pytest.mark.parametrize(("width", "height"), [(1, 3000), (3000, 1), (3, 9001), (9001, 3), (6, 17_000)])
def test_pictures_cropped_while_resized_look_the_same(width: int, height: int) -> None:
    picture = photo(width, height)
    size = 160
    ours = PillowPreprocessor(preprocess_rule(size), size)(encode(picture, "PNG")).astype(int)
    off = np.abs(ours - reference(picture, preprocess_rule(size)).astype(int))
    assert off.mean() < 0.5
    assert off.max() < 16


@pytest.mark.parametrize(("width", "height"), [(1, 2_000_000), (2_000_000, 1)])
def test_extreme_ratios_cost_no_more_than_their_pixels(width: int, height: int) -> None:
    """Resized whole, this one would take a hundred gigabytes."""
    data = encode(Image.new("RGB", (width, height), (200, 100, 50)), "PNG")
    pixels = PillowPreprocessor(preprocess_rule(224), 224)(data)
    assert (pixels == (200, 100, 50)).all()


@pytest.mark.export
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(120, 80), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert difference(data, upright, preprocess_rule(64)) == 0


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_break_the_picture() -> None:
    data = encode(photo(60, 40), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01")
    plain = encode(photo(60, 40), "JPEG")
    preprocess = PillowPreprocessor(preprocess_rule(32), 32)
    assert np.array_equal(preprocess(data), preprocess(plain))


@pytest.mark.export
@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("LA", "PNG"), ("LA", "TIFF")]
)
def test_alpha_is_composited_on_white(mode: str, kind: str) -> None:
    picture = photo(90, 120).convert(mode)
    picture.putalpha(photo(90, 120).convert("L").transpose(Image.Transpose.ROTATE_180))
    data = encode(picture, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    colour, alpha = (np.asarray(part, dtype=float) for part in (picture.convert("RGB"), picture.getchannel("A")))
    weight = alpha[..., np.newaxis] / 255
    flat = Image.fromarray(np.rint(colour * weight + 255 * (1 - weight)).astype(np.uint8))
    assert difference(data, flat, preprocess_rule(64)) <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_becomes_white(mode: str) -> None:
    picture = Image.new(mode, (40, 40), 7 if mode != "RGB" else (7, 7, 7))
    if mode == "P":
        picture.putpalette([0, 0, 0] * 256)
    data = encode(picture, "PNG", transparency=7 if mode != "RGB" else (7, 7, 7))
    assert (PillowPreprocessor(preprocess_rule(32), 32)(data) == 255).all()


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    levels = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    pixels = PillowPreprocessor(preprocess_rule(32), 32)(encode(Image.fromarray(levels), "PNG"))
    assert np.array_equal(pixels, np.repeat((levels >> 8).astype(np.uint8)[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_and_pages_give_their_first(kind: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (PillowPreprocessor(preprocess_rule(32), 32)(data) == (255, 0, 0)).all()


def test_the_result_is_contiguous_bytes() -> None:
    pixels = PillowPreprocessor(preprocess_rule(48), 48)(encode(photo(90, 70), "JPEG"))
    assert pixels.shape == (48, 48, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("size", "oversampling", "decoded"),
    [
        ((900, 600), 0, (900, 600)),
        ((900, 600), 2, (225, 150)),
        ((900, 600), 4, (450, 300)),
        ((900, 600), 10, (900, 600)),
        ((600, 2400), 2, (150, 600)),
        ((127, 4000), 2, (127, 4000)),
        ((1024, 1024), 1, (128, 128)),
    ],
)
def test_large_jpegs_are_decoded_at_a_fraction(
    size: tuple[int, int], oversampling: int, decoded: tuple[int, int]
) -> None:
    sizes = []

    def noting(picture: Image.Image, *how: Any) -> Image.Image:
        sizes.append(picture.size)
        return resize_by_pillow(picture, *how)

    picture = photo(*size)
    limits = ImageLimits(jpeg_oversampling=oversampling)
    preprocessor = PillowPreprocessor(preprocess_rule(64), 64, limits, resize=noting)
    pixels = preprocessor(encode(picture, "JPEG"))
    preprocessor(encode(picture, "PNG"))
    assert sizes == [decoded, size]
    assert pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_fraction_looks_like_the_whole(mode: str) -> None:
    data = encode(photo(1200, 900).convert(mode), "JPEG", quality=90)
    whole = PillowPreprocessor(preprocess_rule(64), 64)(data).astype(int)
    fraction = PillowPreprocessor(preprocess_rule(64), 64, ImageLimits(jpeg_oversampling=4))(data).astype(int)
    assert 0 < np.abs(whole - fraction).max() <= 12
    assert np.abs(whole - fraction).mean() < 1.0


def test_a_fraction_is_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photo(1200, 900), "JPEG", exif=exif)
    whole = PillowPreprocessor(preprocess_rule(64), 64)(data).astype(int)
    fraction = PillowPreprocessor(preprocess_rule(64), 64, ImageLimits(jpeg_oversampling=2))(data).astype(int)
    assert np.abs(whole - fraction).mean() < 2.0
