"""TensorRT for the towers on a GPU: ONNX Runtime's provider, and the engines it makes and keeps.

An engine is made for one graph, one kind of GPU, and shapes between a smallest and a largest; that takes long, so it is
kept in a directory that only what it was made of can lead to.
"""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clipsearch.encoders.manifest import TEXT_GRAPH_FILE, Manifest
from clipsearch.encoders.runtime import TENSORRT, TensorRt, onnxruntime
from clipsearch.errors import DeviceUnavailable

USUAL_TEXTS, USUAL_TOKENS, USUAL_PICTURES = 32, 16, 32
"""The batches that an engine is made to be fastest with."""

_YES: Final = "True"  # the provider takes neither 1 nor true for every option


@dataclass(frozen=True, slots=True)
class Profile:
    """The shapes of one input that an engine is made for."""

    name: str
    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]

    def options(self) -> dict[str, str]:
        """Return them as ONNX Runtime's provider is told them."""
        shapes = {"min": self.smallest, "opt": self.usual, "max": self.largest}
        return {
            f"trt_profile_{which}_shapes": f"{self.name}:{'x'.join(map(str, shape))}" for which, shape in shapes.items()
        }


def check_available() -> str:
    """Load TensorRT's libraries and return their version; raises DeviceUnavailable where there are none."""
    if TENSORRT not in onnxruntime().get_available_providers():
        raise DeviceUnavailable(
            "tensorrt_engines is set, and the installed ONNX Runtime has no TensorRT (onnxruntime-gpu does)."
        )
    try:
        # Its import loads the libraries from where pip put them, which ONNX Runtime does not do.
        return str(importlib.import_module("tensorrt").__version__)
    except ImportError as error:
        raise DeviceUnavailable(
            f"tensorrt_engines is set, and TensorRT cannot be had: {error}; install 'tensorrt-cu13<11'."
        ) from error


def profile(path: Path, manifest: Manifest, limits: TensorRt) -> Profile:
    """Return the shapes of a bundle's graph."""
    if path.name == TEXT_GRAPH_FILE:
        usual = min(USUAL_TEXTS, limits.texts), min(USUAL_TOKENS, manifest.context_length)
        return Profile("ids", (1, 1), usual, (limits.texts, manifest.context_length))
    picture = (manifest.image_size, manifest.image_size, 3)
    return Profile(
        "pixels", (1, *picture), (min(USUAL_PICTURES, limits.pictures), *picture), (limits.pictures, *picture)
    )


def provider_options(path: Path, manifest: Manifest, limits: TensorRt, version: str) -> dict[str, str]:
    """Return what the provider is told for a bundle's graph; ``version`` is TensorRT's.

    Raises DeviceUnavailable for a bundle that is not of fp16, and where the directory of engines cannot be made.
    """
    if manifest.precision != "fp16":
        raise DeviceUnavailable(
            f"TensorRT serves fp16 bundles, and this one is {manifest.precision}; export it as fp16, or leave "
            "tensorrt_engines out."
        )
    shapes = profile(path, manifest, limits).options()
    kept = limits.engines / f"{path.stem}-{_fingerprint(path, manifest, shapes, version)}"
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeviceUnavailable(f"tensorrt_engines cannot be used: {error.strerror}: {kept}.") from error
    return {
        **shapes,
        "trt_fp16_enable": _YES,
        "trt_engine_cache_enable": _YES,
        "trt_engine_cache_path": str(kept),
        "trt_timing_cache_enable": _YES,
        "trt_timing_cache_path": str(kept),
    }


def _fingerprint(path: Path, manifest: Manifest, shapes: dict[str, str], version: str) -> str:
    """Name all that an engine depends on but the GPU, which ONNX Runtime puts into its file's name."""
    files = [hash_ for name, hash_ in sorted(manifest.files.items()) if name.startswith(path.stem + ".")]
    parts = [*files, *shapes.values(), version, onnxruntime().__version__]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
