"""JPEGs to pixels, decoded by the CPU and by the GPU: how many a second, for how much of the processor, and how alike.

    python benchmarks/gpu/jpegs.py --out DIR [--seconds 1]

A thread for each core makes pictures into what the image tower takes, as the server does where it decodes in its own
process: by Pillow, and with nvImageCodec for the decoding. Beside that stands what the GPU decodes in batches whose
pixels stay there, by each of its ways. ``--device cpu`` has nvImageCodec's own decoder for the CPU take the GPU's
place, for trying it where there is none.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from benchmarks.harness.facts import environment
from benchmarks.harness.models import ROOT, SAMPLE_BUNDLE
from benchmarks.harness.workload import made_pictures
from clipsearch.encoders.load import Encoders, load_encoders
from clipsearch.encoders.nvjpeg import SMOOTH_COLOURS, NvJpeg
from clipsearch.encoders.preprocess import PillowPreprocessor
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.index.threads import available_cores

SIDES: Final = {"512 x 512": 512, "12 megapixels": 3464}
BATCHES: Final = (1, 8, 32, 128)
PICTURES: Final = 16


@dataclass(frozen=True, slots=True)
class Figure:
    """Pictures a second of one way, and milliseconds of processor time for each."""

    size: str
    way: str
    callers: int
    batch: int
    pictures_s: float
    cpu_ms: float


def rate(run: Callable[[int], object], callers: int, batch: int, seconds: float) -> tuple[float, float]:
    """Return pictures a second, and milliseconds of processor time a picture, of some callers side by side.

    ``run`` is told a number that is another one every time.
    """
    numbers = count()
    for _ in range(2 * callers):
        run(next(numbers))
    done = [0] * callers
    began, cpu_s = time.perf_counter(), time.process_time()
    stop = began + seconds

    def call(caller: int) -> None:
        while time.perf_counter() < stop:
            run(next(numbers))
            done[caller] += batch

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pictures = sum(done)
    return pictures / (time.perf_counter() - began), 1e3 * (time.process_time() - cpu_s) / pictures


def preprocessors(encoders: Encoders, decoder: NvJpeg) -> dict[str, PillowPreprocessor]:
    """Return the whole way from bytes to the tower's pixels, by who decodes."""
    rule, size = encoders.manifest.preprocess, encoders.manifest.image_size
    return {"Pillow": PillowPreprocessor(rule, size), "nvImageCodec": PillowPreprocessor(rule, size, jpegs=decoder)}


def batch_ways(device: str) -> dict[str, Callable[[Sequence[bytes]], Sequence[Any]]]:
    """Return what decodes whole batches and leaves them where they are, by nvImageCodec's kinds of decoders."""
    from nvidia import nvimgcodec as codec

    kinds = {
        "hardware": [codec.HW_GPU_ONLY],
        "GPU": [codec.GPU_ONLY],
        "CPU and GPU": [codec.HYBRID_CPU_GPU],
        "all of them": [codec.HW_GPU_ONLY, codec.GPU_ONLY, codec.HYBRID_CPU_GPU],
    }
    if device == "cpu":
        kinds = {"libjpeg-turbo": [codec.CPU_ONLY]}
    number = codec.NVIMGCODEC_DEVICE_CPU_ONLY if device == "cpu" else 0
    parameters = codec.DecodeParams(apply_exif_orientation=False)
    found = {}
    for name, some in kinds.items():
        backends = [codec.Backend(kind) for kind in some]
        decoder = codec.Decoder(device_id=number, backends=backends, options=SMOOTH_COLOURS)
        found[name] = lambda batch, decode=decoder.decode: decode(list(batch), params=parameters)
    return found


def measure(encoders: Encoders, decoder: NvJpeg, device: str, seconds: float) -> list[Figure]:
    """Measure every way at both sizes."""
    found = []
    cores = available_cores()
    batched = batch_ways(device)
    for size, side in SIDES.items():
        pictures = made_pictures(PICTURES if side == min(SIDES.values()) else 4, 0, side)
        for way, preprocess in preprocessors(encoders, decoder).items():
            for callers in sorted({1, cores}):
                pictures_s, cpu_ms = rate(
                    lambda n, preprocess=preprocess, given=pictures: preprocess(given[n % len(given)]),  # type: ignore[misc]
                    callers, 1, seconds,
                )  # fmt: skip
                found.append(Figure(size, way, callers, 1, round(pictures_s, 1), round(cpu_ms, 3)))
                print(found[-1], flush=True)
        for way, decode in batched.items():
            for batch in BATCHES:
                given = (pictures * batch)[:batch]
                if any(one is None for one in decode(given)):
                    print(f"{size}: not decoded by {way}", flush=True)
                    break
                pictures_s, cpu_ms = rate(lambda _, decode=decode, given=given: decode(given), 1, batch, seconds)  # type: ignore[misc]
                found.append(Figure(size, f"batches, {way}", 1, batch, round(pictures_s, 1), round(cpu_ms, 3)))
                print(found[-1], flush=True)
    return found


def parity(encoders: Encoders, decoder: NvJpeg) -> dict[str, float]:
    """Return how far decoded levels are apart, and the smallest cosine of the sample model's embeddings."""
    pictures = made_pictures(PICTURES, 0)
    apart = []
    for data in pictures:
        picture = Image.open(BytesIO(data))
        assert isinstance(picture, JpegImageFile)
        decoded = decoder(data, picture)
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
