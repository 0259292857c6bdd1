"""What a server is going to take of a GPU, summed up before anything is placed there."""

import logging
from collections import Counter
from pathlib import Path

from clipsearch.cuda import Room, import_cupy
from clipsearch.data import collection_directories
from clipsearch.decoding import decode_threads
from clipsearch.encoders import nvjpeg
from clipsearch.encoders.cuda import SLOTS, weight_bytes
from clipsearch.encoders.manifest import Bundle
from clipsearch.encoders.runtime import resolve_device
from clipsearch.errors import DeviceUnavailable, UnusableIndex
from clipsearch.index.gpu import ONE, Gpus, is_on_gpu, needs
from clipsearch.index.storage import find_snapshots, read_manifest
from clipsearch.lanes import batch_sizes
from clipsearch.settings import MIB, Settings

logger = logging.getLogger(__name__)

_ID_BYTES, _FLOAT_BYTES, _CHANNELS = 8, 4, 3


def check_fits(settings: Settings, bundle: Bundle, data: Path | None = None) -> None:
    """Compare what towers, decoders, and the indexes under ``data`` need with what is free on the GPU, where they are.

    Raises DeviceUnavailable with the sums where it is too little. What the computing of a batch takes besides is found
    out by computing the largest, which comes next, unless ``gpu_tower_mib`` says it.
    """
    parts: Counter[str] = Counter()
    if resolve_device(settings.device, bundle.manifest.precision) == "cuda":
        parts.update(tower_parts(settings, bundle))
    if settings.jpeg_decoder == "nvjpeg":
        parts.update(decoder_parts(settings))
    if data is not None and data.is_dir() and is_on_gpu(settings.device):
        parts.update(index_parts(data, Gpus(settings.index_gpus, settings.index_split)))
    if parts:
        free = Room.now(import_cupy()).less("the server", parts)
        taken = parts.total() // MIB
        logger.info(
            "%d MiB of the GPU are to be taken, besides batches and re-rank vectors; %d free", taken, free // MIB
        )


def tower_parts(settings: Settings, bundle: Bundle) -> dict[str, int]:
    """Return the bytes that the two towers take on a GPU: the most they may, or weights and staging.

    Raises DeviceUnavailable where the weights of one are more than it may take.
    """
    manifest, limit = bundle.manifest, settings.gpu_tower_mib * MIB
    sizes = batch_sizes(settings, "cuda", small=False)
    parts: dict[str, int] = {}
    for tower, path in (("text", bundle.text_graph), ("image", bundle.image_graph)):
        weights = weight_bytes(path)
        if 0 < limit < weights:
            raise DeviceUnavailable(
                f"The weights of the {tower} tower are {-(-weights // MIB)} MiB, and gpu_tower_mib is "
                f"{settings.gpu_tower_mib}; raise it or take a smaller model."
            )
        parts[f"{tower} tower" if limit else f"{tower} weights"] = limit or weights
    going_up = sizes.text_tokens * _ID_BYTES + sizes.image_items * manifest.image_size**2 * _CHANNELS
    coming_back = (settings.text_batch_items + sizes.image_items) * manifest.dimension * _FLOAT_BYTES
    parts["staging"] = SLOTS * (going_up + coming_back)
    return parts


def decoder_parts(settings: Settings) -> dict[str, int]:
    """Return the bytes that JPEGs take on a GPU while they are decoded, one in each thread."""
    pixels = min(settings.max_image_pixels, nvjpeg.MOST_PIXELS)
    return {"decoding": decode_threads(settings) * pixels * nvjpeg.BYTES_PER_PIXEL}


def index_parts(root: Path, gpus: Gpus = ONE) -> Counter[str]:
    """Return the bytes that the indexes of all collections under ``root`` take on each GPU, without their vectors.

    Those that cannot be read take none: they are told of, and built again, when their collections are opened.
    """
    parts: Counter[str] = Counter()
    for directory in collection_directories(root).values():
        snapshots = find_snapshots(directory)
        if not snapshots:
            continue
        try:
            manifest = read_manifest(snapshots[-1])
        except UnusableIndex:
            continue
        parts.update({f"index {part}": size for part, size in needs(manifest, gpus).items()})
    return parts
