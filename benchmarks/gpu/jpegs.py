"""JPEGs to pixels, decoded by the CPU and by the GPU: how many a second, for how much of the processor, and how alike.

    python benchmarks/gpu/jpegs.py --out DIR [--seconds 1]

A thread for each core makes pictures into what the image tower takes, as the server does where it decodes in its own
process: by Pillow, and with nvImageCodec for the decoding. Beside that stands what the GPU decodes in batches whose
pixels stay there, by each of its ways. ``--device cpu`` has nvImageCodec's own decoder for the CPU take the GPU's
place, for trying it where there is none.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from benchmarks.gpu.callers import rate
from benchmarks.harness.facts import environment
from benchmarks.harness.models import ROOT, SAMPLE_BUNDLE
from benchmarks.harness.workload import made_pictures
from clipsearch.encoders.framing import UPRIGHT, Frame
from clipsearch.encoders.load import Encoders, load_encoders
from clipsearch.encoders.nvjpeg import NvJpeg, import_codec, open_decoder
from clipsearch.encoders.preprocess import JpegDecoder, PillowPreprocessor
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.index.threads import available_cores

SIZES: Final = {"512 x 512": (512, 16), "12 megapixels": (3464, 4)}
"""The edges of the pictures, and how many there are."""

BATCHES: Final = (1, 8, 32, 128)


@dataclass(frozen=True, slots=True)
class Figure:
    """Pictures a second of one way, and milliseconds of processor time for each."""

    size: str
    way: str
    callers: int
    batch: int
    pictures_s: float
    cpu_ms: float


def preprocessors(encoders: Encoders, decoder: JpegDecoder) -> dict[str, PillowPreprocessor]:
    """Return the whole way from bytes to the tower's pixels, by who decodes."""
    rule, size = encoders.manifest.preprocess, encoders.manifest.image_size
    return {"Pillow": PillowPreprocessor(rule, size), "nvImageCodec": PillowPreprocessor(rule, size, jpegs=decoder)}


def batch_ways(device: str) -> dict[str, Callable[[Sequence[bytes]], Sequence[Any]]]:
    """Return what decodes whole batches and leaves them where they are, by nvImageCodec's kinds of decoders."""
    codec = import_codec()
    if device == "cpu":
        return {"libjpeg-turbo": open_decoder(codec, [codec.CPU_ONLY])}
    kinds = {"hardware": [codec.HW_GPU_ONLY], "GPU": [codec.GPU_ONLY], "CPU and GPU": [codec.HYBRID_CPU_GPU]}
    kinds["all of them"] = [kind for some in kinds.values() for kind in some]
    return {name: open_decoder(codec, some) for name, some in kinds.items()}


def runs(
    encoders: Encoders, decoder: JpegDecoder, device: str, pictures: Sequence[bytes]
) -> Iterator[tuple[str, Callable[[int], object], int, int]]:
    """Yield each way, what to call for it, by how many at once, and how many pictures a call is given."""
    for way, preprocess in preprocessors(encoders, decoder).items():
        for callers in sorted({1, available_cores()}):
            yield way, partial(_one_of, preprocess, pictures), callers, 1
    for way, decode in batch_ways(device).items():
        for batch in BATCHES:
            given = list(islice(cycle(pictures), batch))
            if None in decode(given):
                print(f"not decoded: {way}", flush=True)
                break
            yield f"batches, {way}", partial(_all_of, decode, given), 1, batch


def _one_of(preprocess: PillowPreprocessor, pictures: Sequence[bytes], number: int) -> object:
    return preprocess(pictures[number % len(pictures)])


def _all_of(decode: Callable[[Sequence[bytes]], Sequence[Any]], pictures: Sequence[bytes], _: int) -> object:
    return decode(pictures)


def measure(encoders: Encoders, decoder: JpegDecoder, device: str, seconds: float) -> list[Figure]:
    """Measure every way at both sizes."""
    found = []
    for size, (side, count) in SIZES.items():
        for way, run, callers, batch in runs(encoders, decoder, device, made_pictures(count, 0, side)):
            pictures_s, cpu_ms = rate(run, batch, seconds, callers)
            found.append(Figure(size, way, callers, batch, round(pictures_s, 1), round(cpu_ms, 3)))
            print(found[-1], flush=True)
    return found


def parity(encoders: Encoders, decoder: JpegDecoder) -> dict[str, float]:
    """Return how far decoded levels are apart, and the smallest cosine of the sample model's embeddings."""
    pictures = made_pictures(16, 0)
    apart = []
    for data in pictures:
        picture = Image.open(BytesIO(data))
        assert isinstance(picture, JpegImageFile)
        as_it_is = Frame(UPRIGHT, picture.size, 0, 0, picture.size, Image.Resampling.BICUBIC)
        decoded = decoder(data, picture, as_it_is)
        if decoded is None:
            raise RuntimeError("nvImageCodec left an ordinary JPEG to Pillow")
        apart.append(np.abs(decoded.astype(np.int16) - np.asarray(picture)))
    right, mine = (
        encoders.image.encode([way(data) for data in pictures]) for way in preprocessors(encoders, decoder).values()
    )
    return {
        "mean_levels": float(np.mean(apart)),
        "most_levels": float(np.max(apart)),
        "min_cosine": float((right * mine).sum(axis=1).min()),
    }


def table(figures: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures as Markdown."""
    lines = ["| picture | decoded by | callers | batch | pictures/s | CPU a picture |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
    lines += [
        f"| {one['size']} | {one['way']} | {one['callers']} | {one['batch']} | {one['pictures_s']:,.0f} "
        f"| {one['cpu_ms']:.2f} ms |"
        for one in figures
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write ``jpegs.json``."""
    parser = argparse.ArgumentParser(description="JPEGs decoded by the CPU and by the GPU.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each figure")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    encoders = load_encoders(SAMPLE_BUNDLE, RuntimeOptions("cpu"))
    decoder = NvJpeg(on_gpu=given.device == "cuda")
    found: dict[str, Any] = {
        "environment": environment(ROOT), "device": given.device, "seconds": given.seconds,
        "parity": parity(encoders, decoder),
    }  # fmt: skip
    print(found["parity"], flush=True)
    found["figures"] = [asdict(one) for one in measure(encoders, decoder, given.device, given.seconds)]
    (given.out / "jpegs.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found["figures"]))


if __name__ == "__main__":
    main()
