"""Manifests, rules and pictures for the encoder tests; nothing here needs torch."""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from clipsearch.encoders.framing import UPRIGHT, Frame
from clipsearch.encoders.manifest import (
    FORMAT_VERSION,
    AttentionNodes,
    Manifest,
    Parity,
    PreprocessRule,
    TowerParity,
    file_hash,
)

CLIP_TOKENIZER = Path(__file__).resolve().parents[4] / "shared" / "data" / "clip_tokenizer"
"""CLIP's published vocabulary, where it lies beside the repository."""


needs_nvimagecodec = pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.nvimgcodec") is None,
    reason="nvImageCodec is missing, which has wheels for Linux alone",
)
"""It is looked for and not imported: what it tells of broken pictures is settled when that is done."""


def preprocess_rule(size: int, **changes: Any) -> PreprocessRule:
    """CLIP's own rule at another size."""
    values: dict[str, Any] = {
        "do_resize": True,
        "shortest_edge": size,
        "resize_to": None,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": (size, size),
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    }
    return PreprocessRule(**values | changes)


def manifest_for(directory: Path) -> Manifest:
    """A manifest that fits the files now in a directory."""
    return Manifest(
        format_version=FORMAT_VERSION,
        source="tiny",
        weight_hash="0" * 64,
        dimension=16,
        context_length=77,
        image_size=32,
        preprocess=preprocess_rule(32),
        precision="fp32",
        opset=23,
        logit_scale=100.0,
        pad_id=49407,
        bos_id=49406,
        eos_id=49407,
        files={path.name: file_hash(path) for path in sorted(directory.iterdir())},
        attention_nodes=AttentionNodes(text=2, image=2),
        parity=Parity(text=TowerParity(64, 1.0, 1.0), image=TowerParity(64, 1.0, 1.0)),
    )


def photo(width: int, height: int) -> Image.Image:
    """Draw an RGB picture with detail at every scale, the same for the same size."""
    random = np.random.default_rng(width * 10007 + height)
    x, y = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 7, height))
    waves = [np.sin(x * k + y * (4 - k) + k) * 80 + 128 for k in (1, 2, 3)]
    noisy = np.stack(waves, axis=-1) + random.normal(0, 25, size=(height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode a picture by Pillow."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def whole(data: bytes) -> Frame:
    """Return the frame that leaves a picture as it is stored."""
    size = header_of(data).size
    return Frame(UPRIGHT, size, 0, 0, size, Image.Resampling.BICUBIC)


def header_of(data: bytes) -> JpegImageFile:
    """Read the header of a JPEG."""
    header = Image.open(io.BytesIO(data))
    assert isinstance(header, JpegImageFile)
    return header
