"""The texts and pictures that the parity gate compares on: made by seeded code, plus real photographs if installed."""

import functools
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZES: tuple[tuple[int, int], ...] = (
    (1, 1), (2, 5), (7, 4), (16, 16), (31, 33), (64, 48), (63, 200), (200, 31), (223, 225), (224, 224), (225, 224),
    (256, 341), (333, 250), (640, 427), (427, 641), (512, 512), (1000, 17), (19, 900), (1280, 720), (1500, 2000),
)  # fmt: skip
"""Widths and heights in pixels: tiny, large, odd ratios, and just around the usual input size."""

MODES: tuple[str, ...] = ("RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I;16")

_MOST_DRAWN_PIXELS = 200_000
"""Larger pictures are drawn smaller and enlarged: drawing is what would take longest."""

Case = tuple[str, bytes]
"""A name to report and an encoded picture."""


@functools.cache
def pictures(seed: int) -> list[Case]:
    """Return at least 64 encoded pictures of all sizes, modes, formats and EXIF orientations."""
    random = np.random.default_rng(seed)
    cases = [
        (f"rgb {width}x{height}", _encode(draw(random, width, height), "JPEG" if n % 2 else "PNG"))
        for n, (width, height) in enumerate(SIZES)
    ]
    for mode in MODES:
        for width, height in ((180, 120), (97, 260), (350, 351)):
            cases.append((f"{mode} {width}x{height}", encoded_in_mode(draw(random, width, height), mode)))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        cases.append((f"orientation {orientation}", _encode(draw(random, 300, 200), "JPEG", exif=exif)))
    for kind in ("WEBP", "BMP", "TIFF", "GIF"):
        cases += [(f"{kind} {n}", _encode(draw(random, 150 + 40 * n, 190), kind)) for n in range(2)]
    animation = [draw(random, 120, 90) for _ in range(3)]
    cases.append(("animation", _encode(animation[0], "GIF", save_all=True, append_images=animation[1:])))
    for shade in (0, 128, 255):
        cases.append((f"flat {shade}", _encode(Image.new("RGB", (240, 240), (shade,) * 3), "PNG")))
    return [*cases, *_photographs()]


def texts(random_words: list[str], context_length: int, seed: int) -> list[str]:
    """Return at least 64 texts: none, one word, … to well over the context length; Unicode and odd spacing too."""
    random = np.random.default_rng(seed)
    counts = np.unique(np.linspace(0, context_length * 1.3, 56).astype(int))
    counts = np.concatenate([counts, random.integers(1, max(2, context_length // 4), size=max(0, 56 - len(counts)))])
    cases = [" ".join(random.choice(random_words, size=count)) for count in counts]
    return [
        *cases,
        "a photo of a red striped cotton shirt with long sleeves, size M",
        "  leading,\ttabs\nand   trailing spaces  ",
        "UPPER lower MiXeD it's they've 1234567890 3.14 50% #tag @you !!!",
        "crème brûlée, naïve façade, Straße, İstanbul, ﬁnal e\u0301 vs é",
        "красное платье в полоску",
        "赤いシャツと青い靴 红色衬衫 빨간 셔츠",
        "قميص أحمر חולצה אדומה ลายทาง",
        "👟 sneakers 👩‍👩‍👧 family 🇺🇸 flag",
        "zero\u200bwidth\u00a0space \u2028 line \ufeff bom",
        "\u0000\u0001 control \x7f",
        "supercalifragilisticexpialidocious" * 20,
        "🦆" * 120,
    ]  # fmt: skip


def draw(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw an RGB picture: a coloured gradient, a dozen shapes and some noise, so that no two are alike."""
    if width * height > _MOST_DRAWN_PIXELS:
        return draw(random, max(1, width // 3), max(1, height // 3)).resize((width, height))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / max(width - 1, 1), y / max(height - 1, 1)
    corners = random.uniform(0, 255, size=(4, 3)).astype(np.float32)
    canvas = (
        corners[0] * ((1 - x) * (1 - y))[..., np.newaxis]
        + corners[1] * (x * (1 - y))[..., np.newaxis]
        + corners[2] * ((1 - x) * y)[..., np.newaxis]
        + corners[3] * (x * y)[..., np.newaxis]
    )
    for _ in range(12):
        centre, radius = random.uniform(0, 1, size=2), random.uniform(0.03, 0.3)
        stretch = random.uniform(0.4, 2.5)
        inside = (x - centre[0]) ** 2 * stretch + (y - centre[1]) ** 2 / stretch < radius**2
        canvas[inside] = random.uniform(0, 255, size=3)
    canvas += random.normal(0, random.uniform(0, 20), size=canvas.shape)
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def encoded_in_mode(picture: Image.Image, mode: str) -> bytes:
    """Encode an RGB picture as one of MODES, in a format that keeps it."""
    grey: NDArray[Any] = np.asarray(picture.convert("L"))
    alpha = Image.fromarray(np.roll(grey, grey.shape[1] // 3, axis=1))
    match mode:
        case "I;16":
            return _encode(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")
        case "RGBA" | "LA":
            with_alpha = picture.convert(mode)
            with_alpha.putalpha(alpha)
            return _encode(with_alpha, "PNG")
        case "P":
            return _encode(picture.quantize(64), "PNG", transparency=7)
        case "CMYK":
            return _encode(picture.convert("CMYK"), "JPEG")
        case _:
            return _encode(picture.convert(mode), "PNG")


def _encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _photographs() -> Iterator[Case]:
    """Give the photographs inside scikit-image's wheel, where that is installed; none is downloaded."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        return
    for path in sorted((Path(found.origin).parent / "data").iterdir()):
        if path.suffix in {".png", ".jpg", ".gif"}:
            yield path.name, path.read_bytes()
