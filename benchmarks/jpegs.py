"""Ways to make a JPEG into the pixels that an image tower takes: what each costs, and how far it changes the embedding.

Costs are CPU time of one thread. What a way changes is told by a ViT-B/32: one minus the cosine of its embedding with
that of the whole picture decoded by Pillow, which is what the checkpoint's own processor sees. Its weights are random,
so these are not what a trained model would say, but they are as sensitive. See docs/decisions/0009-jpegs.md.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from harness.facts import environment
from harness.figures import summarise
from harness.models import ROOT, TOKENIZER, MissingInput, random_bundle
from harness.report import Line, publish
from PIL import Image
from skimage import data as photographs

from clipsearch.encoders.load import load_encoders
from clipsearch.encoders.preprocess import ImageLimits, PillowPreprocessor
from clipsearch.encoders.resize import Resize, resize, resize_by_pillow
from clipsearch.ports import Pixels

RESULTS = ROOT / "benchmarks" / "results" / "jpegs.json"
SIDE = 224
SIZES = {"512 x 512": ((512, 512), 20), "12 megapixels": ((4000, 3000), 3)}
"""What is decoded, and how often in a turn."""

REAL = ("astronaut", "coffee", "rocket", "hubble_deep_field", "retina", "immunohistochemistry", "chelsea")
"""Those that lie inside scikit-image's wheel."""

Way = Callable[[bytes], Pixels]


def ways(preprocessor: Callable[[Resize, int], PillowPreprocessor]) -> dict[str, Way]:
    """Every way, by its name; ``preprocessor`` makes ours by how it resizes and its oversampling."""
    return {
        "Pillow, whole": preprocessor(resize_by_pillow, 0),
        "ours, whole": preprocessor(resize, 0),
        "ours, fraction, oversampling 1": preprocessor(resize, 1),
        "ours, fraction, oversampling 2": preprocessor(resize, 2),
        "ours, fraction, oversampling 3": preprocessor(resize, 3),
        "ours, fraction, oversampling 4": preprocessor(resize, 4),
        "Pillow, whole, reducing_gap 3": partial(_pillow_gap, gap=3.0),
        "Pillow, fraction, oversampling 4": preprocessor(resize_by_pillow, 4),
        "simplejpeg, whole": _simplejpeg,
        "simplejpeg, fraction, oversampling 2": partial(_simplejpeg, oversampling=2),
        "OpenCV, whole, area": _opencv,
    }


def _size(width: int, height: int) -> tuple[int, int]:
    """The size whose shortest edge is the tower's."""
    return (SIDE, int(SIDE * height / width)) if width <= height else (int(SIDE * width / height), SIDE)


def _middle(pixels: Pixels) -> Pixels:
    top, left = (pixels.shape[0] - SIDE) // 2, (pixels.shape[1] - SIDE) // 2
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])


def _pillow_gap(data: bytes, gap: float) -> Pixels:
    image = Image.open(BytesIO(data))
    return _middle(np.asarray(image.resize(_size(*image.size), Image.Resampling.BICUBIC, reducing_gap=gap)))


def _simplejpeg(data: bytes, oversampling: int = 0) -> Pixels:
    least = {}
    if oversampling:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        least_width, least_height = (oversampling * edge for edge in _size(width, height))
        least = {"min_width": least_width, "min_height": least_height, "min_factor": 1}
    image = Image.fromarray(simplejpeg.decode_jpeg(data, **least))
    return _middle(np.asarray(image.resize(_size(*image.size), Image.Resampling.BICUBIC)))


def _opencv(data: bytes) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    height, width = pixels.shape[:2]
    return _middle(cv2.resize(pixels, _size(width, height), interpolation=cv2.INTER_AREA))


def costs(by_name: dict[str, Way], rounds: int) -> list[Line]:
    """CPU time of each way, in turns."""
    lines = []
    for what, ((width, height), count) in SIZES.items():
        jpeg = _jpeg(_noise(width, height, 30, 16, seed=0))
        taken: dict[str, list[float]] = {name: [] for name in by_name}
        for _ in range(rounds):
            for name, way in by_name.items():
                started = time.thread_time()
                for _ in range(count):
                    way(jpeg)
                taken[name].append(1e3 * (time.thread_time() - started) / count)
        lines += [Line(what, name, "ms", summarise(ms), better="lower") for name, ms in taken.items()]
    return lines


def changes(by_name: dict[str, Way], encode: Callable[[list[Pixels]], np.ndarray]) -> list[Line]:
    """One minus the cosine with the first way, over photographs and over patterns made to be difficult."""
    lines = []
    for what, pictures in (("photographs", _photographs()), ("noise and stripes", _difficult())):
        apart: dict[str, list[float]] = {name: [] for name in by_name}
        for picture in pictures:
            vectors = encode([way(_jpeg(picture)) for way in by_name.values()])
            for name, vector in zip(by_name, vectors, strict=True):
                apart[name].append(max(0.0, 1.0 - float(vector @ vectors[0])))
        lines += [
            Line(f"1 - cosine, {what}", name, "", summarise(each), better="lower") for name, each in apart.items()
        ]
    return lines


def _photographs() -> list[np.ndarray]:
    """Real ones as they are, and enlarged to what a camera of today makes."""
    own = [getattr(photographs, name)() for name in REAL]
    large = [Image.fromarray(one).resize((5 * one.shape[1], 5 * one.shape[0]), Image.Resampling.LANCZOS) for one in own]
    return [*own, *map(np.asarray, large)]


def _difficult() -> list[np.ndarray]:
    noises = [
        _noise(*size, seed=number)
        for number, size in enumerate(
            ((4000, 3000, 30, 16), (1024, 768, 30, 8), (2000, 1500, 60, 4), (3000, 2000, 100, 2), (1200, 1200, 128, 1))
        )
    ]
    y, x = np.mgrid[0:2048, 0:2048]
    stripes = [(((x + y // 3) // width % 2) * 255).astype(np.uint8) for width in (2, 3, 5, 7)]
    return [*noises, *(np.repeat(one[..., None], 3, axis=2) for one in stripes)]


def _noise(width: int, height: int, amplitude: int, cell: int, seed: int) -> np.ndarray:
    """Blurred cells of random colours under noise."""
    random = np.random.default_rng(seed)
    cells = random.integers(0, 256, (height // cell + 1, width // cell + 1, 3), dtype=np.uint8)
    smooth = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    noise = random.integers(-amplitude, amplitude + 1, (height, width, 3))
    return (np.asarray(smooth).astype(np.int16) + noise).clip(0, 255).astype(np.uint8)


def _jpeg(pixels: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=85)
    return out.getvalue()


def main() -> None:
    """Measure, print a table and write the figures; exits with 1 where a model is missing."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description="Compare ways to decode and resize JPEGs.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory of CLIP's tokenizer")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="where models are kept")
    arguments = parser.parse_args()
    facts = environment(ROOT)
    cv2.setNumThreads(1)
    try:
        bundle = random_bundle(arguments.work.resolve(), "fp32", 0, arguments.tokenizer.resolve())
    except MissingInput as error:
        sys.exit(f"{error}.")
    encoders = load_encoders(bundle)
    rule = encoders.manifest.preprocess
    by_name = ways(lambda way, n: PillowPreprocessor(rule, SIDE, ImageLimits(jpeg_oversampling=n), resize=way))
    lines = [*costs(by_name, arguments.rounds), *changes(by_name, encoders.image.encode)]
    publish(lines, "JPEGs to pixels", facts, {"rounds": arguments.rounds}, arguments.out)


if __name__ == "__main__":
    main()
