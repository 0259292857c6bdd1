"""Resizing with vector instructions against Pillow, on noise: the pictures in which rounding and order show most."""

import platform
import random
import threading

import numpy as np
import PIL
import pytest
from PIL import Image

from clipsearch.encoders import resize as module
from clipsearch.encoders.resize import resize, resize_by_pillow

VECTORISED = [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS]

needs_wheel = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="cykooz_resizer has wheels for Linux on x86-64 alone",
)


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width * 10_000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def off(picture: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    """Levels between the two ways."""
    ours, pillows = (np.asarray(way(picture, size, resample)).astype(int) for way in (resize, resize_by_pillow))
    return np.abs(ours - pillows)


@needs_wheel
def test_the_pinned_pillow_is_known() -> None:
    assert set(module._options(PIL.__version__)) == set(VECTORISED)


@needs_wheel
@pytest.mark.parametrize("resample", VECTORISED, ids=lambda filter_: filter_.name)
def test_is_vectorised_and_within_a_level(resample: Image.Resampling) -> None:
    levels = off(noise(640, 480), (224, 168), resample)
    assert levels.max() == 1, "the same everywhere would mean that Pillow did it"
    assert levels.mean() < 0.01


@pytest.mark.parametrize("resample", list(Image.Resampling), ids=lambda filter_: filter_.name)
def test_any_sizes_give_what_pillow_gives(resample: Image.Resampling) -> None:
    """Wide and tall, larger and smaller: in the wrong order of directions values are off by dozens of levels."""
    sizes = random.Random(7)
    for _ in range(120):
        shapes = [(1, 700, 1, 700), (1, 60, 100, 700), (100, 700, 1, 60)]
        least_width, most_width, least_height, most_height = sizes.choice(shapes)
        picture = noise(sizes.randint(least_width, most_width), sizes.randint(least_height, most_height))
        wanted = (sizes.randint(1, 300), sizes.randint(1, 300))
        assert off(picture, wanted, resample).max() <= 2, (picture.size, wanted)


@pytest.mark.parametrize("size", [(100, 60), (100, 20), (31, 60)])
def test_a_direction_that_stays_is_not_touched(size: tuple[int, int]) -> None:
    picture = noise(100, 60)
    assert off(picture, size, Image.Resampling.BICUBIC).max() <= 1
    assert resize(picture, size, Image.Resampling.BICUBIC).size == size


def test_beside_an_unknown_pillow_it_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = f"{module.KNOWN_PILLOWS.stop}.0.1"
    monkeypatch.setattr(module, "_OPTIONS", module._options(unknown))
    assert off(noise(640, 480), (224, 168), Image.Resampling.BICUBIC).max() == 0


def test_without_the_package_it_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "vectorised", None)
    monkeypatch.setattr(module, "_OPTIONS", module._options(PIL.__version__))
    assert off(noise(640, 480), (224, 168), Image.Resampling.BICUBIC).max() == 0


def test_threads_do_not_disturb_each_other() -> None:
    picture, size = noise(300, 200), (96, 64)
    expected = np.asarray(resize(picture, size, Image.Resampling.BICUBIC))
    wrong: list[int] = []

    def many(number: int) -> None:
        for _ in range(50):
            if not np.array_equal(np.asarray(resize(picture, size, Image.Resampling.BICUBIC)), expected):
                wrong.append(number)

    threads = [threading.Thread(target=many, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
