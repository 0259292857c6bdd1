"""JPEGs decoded on a GPU: nvImageCodec over nvJPEG. What it does not take is left to Pillow.

Only the decoding is done there. Pixels come back to the host, where they are turned and resized like any other
picture's, so that an embedding depends on the decoder by what two decoders of JPEG differ in and nothing else.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import Any, Final

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from clipsearch.cuda import import_cupy, why_no_gpu
from clipsearch.errors import DeviceUnavailable
from clipsearch.ports import Pixels

MOST_PIXELS: Final = 16_000_000
"""Larger pictures are left to Pillow: memory of the GPU is kept for so many at once in each thread."""

BYTES_PER_PIXEL: Final = 10
"""What nvJPEG is taken to need: three bytes of RGB, coefficients of two bytes for each colour, and a little more."""

_END: Final = b"\xff\xd9"
_RGB: Final = [ord(name) for name in "RGB"]
_SMOOTH_COLOURS: Final = ":fancy_upsampling=1"
"""Colours of half the resolution are interpolated, as libjpeg does, and not repeated."""

logger = logging.getLogger(__name__)


class NvJpeg:
    """Decodes JPEGs on the first GPU; safe from several threads, each with a decoder and a stream of its own."""

    def __init__(self, *, on_gpu: bool = True) -> None:
        """Load nvImageCodec and decode a picture; raises DeviceUnavailable where that cannot be done.

        Without ``on_gpu`` its own libjpeg-turbo decodes, on the CPU.
        """
        if on_gpu and (reason := why_no_gpu()) is not None:
            raise DeviceUnavailable(f"jpeg_decoder is nvjpeg, and there is no GPU to decode on: {reason}.")
        self._codec = import_codec()
        self._on_gpu = on_gpu
        self._own = threading.local()
        with Image.new("RGB", (16, 16), (200, 100, 50)) as picture, BytesIO() as file:
            picture.save(file, "JPEG")
            tried = file.getvalue()
        with Image.open(BytesIO(tried)) as header:
            assert isinstance(header, JpegImageFile)
            if self(tried, header) is None:
                raise DeviceUnavailable("nvImageCodec decodes no JPEG here; it needs nvidia-nvjpeg, of the gpu extra.")
        logger.info("JPEGs are decoded by nvImageCodec %s", self._codec.__version__)

    def __call__(self, data: bytes, header: JpegImageFile) -> Pixels | None:
        """See ``preprocess.JpegDecoder``.

        Left to Pillow are other colours than RGB of the usual kind, what is large, and what is cut off: Pillow says
        what is wrong with it, where nvJPEG may fill it up.
        """
        large = header.width * header.height > MOST_PIXELS
        if large or not _has_usual_colours(header) or not data.endswith(_END):
            return None
        decoded = self._decode()(data)
        host = None if decoded is None else decoded.cpu()
        if host is None:
            return None
        pixels: Pixels = np.asarray(host)
        return pixels if pixels.shape == (header.height, header.width, 3) else None

    def _decode(self) -> Callable[[bytes], Any]:
        """Return the calling thread's way to decode; raises DeviceUnavailable where it can have none."""
        if not hasattr(self._own, "decode"):
            self._own.decode = self._on_a_gpu() if self._on_gpu else self._on_the_cpu()
        decode: Callable[[bytes], Any] = self._own.decode
        return decode

    def _on_a_gpu(self) -> Callable[[bytes], Any]:
        codec = self._codec
        # Not the default stream, which waits for the towers' and they for it. It lives as long as its thread.
        self._own.stream = import_cupy().cuda.Stream(non_blocking=True)
        decode = open_decoder(codec, [codec.HW_GPU_ONLY, codec.GPU_ONLY, codec.HYBRID_CPU_GPU], threads=1)
        return partial(decode, cuda_stream=self._own.stream.ptr)

    def _on_the_cpu(self) -> Callable[[bytes], Any]:
        return open_decoder(self._codec, [self._codec.CPU_ONLY], threads=1)


def open_decoder(codec: ModuleType, kinds: Sequence[Any], threads: int = 0) -> Callable[..., Any]:
    """Return what decodes one file, or a list of them, by nvImageCodec's ``kinds`` of decoders, on the first GPU.

    Or on the CPU, where that is the only kind. ``threads`` of the CPU help, 0: one per core. What comes out is an image
    for each, where it was decoded, and None for one that was not. Raises DeviceUnavailable.
    """
    device = codec.NVIMGCODEC_DEVICE_CPU_ONLY if list(kinds) == [codec.CPU_ONLY] else 0
    backends = [codec.Backend(kind) for kind in kinds]
    try:
        decoder = codec.Decoder(
            device_id=device, max_num_cpu_threads=threads, backends=backends, options=_SMOOTH_COLOURS
        )
    except RuntimeError as error:
        raise DeviceUnavailable(f"nvImageCodec cannot use the GPU: {error}.") from error
    return partial(decoder.decode, params=codec.DecodeParams(apply_exif_orientation=False))


def _has_usual_colours(header: JpegImageFile) -> bool:
    """Whether it holds brightness and two differences, as nearly all do, and not red, green and blue themselves."""
    names = [layer[0] for layer in header.layer]
    return header.mode == "RGB" and header.info.get("adobe_transform", 1) == 1 and names != _RGB


def import_codec() -> ModuleType:
    """Import nvImageCodec; raises DeviceUnavailable where it is missing."""
    # Else it tells standard error of every picture that is broken, and anybody may send those.
    os.environ["PYNVIMGCODEC_VERBOSITY"] = "0"
    try:
        return import_module("nvidia.nvimgcodec")
    except ImportError as error:
        raise DeviceUnavailable(
            f"jpeg_decoder is nvjpeg, and nvImageCodec, of the gpu extra, cannot be had: {error}."
        ) from error
