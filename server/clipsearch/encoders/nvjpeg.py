"""JPEGs decoded on a GPU: nvImageCodec over nvJPEG. What it does not take is left to Pillow.

Pictures are turned, resized and cropped there as well (``gpu_framing``), to the last level as by Pillow, so that an
embedding depends on the decoder by what two decoders of JPEG differ in and nothing else.
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
from clipsearch.encoders.framing import UPRIGHT, Frame, Size, turned
from clipsearch.encoders.gpu_framing import GpuFramer
from clipsearch.encoders.resize import resize_by_pillow
from clipsearch.encoders.taps import FILTERS
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
        self._opened = _OnGpu if on_gpu else _OnCpu
        self._own = threading.local()
        with Image.new("RGB", (16, 16), (200, 100, 50)) as picture, BytesIO() as file:
            picture.save(file, "JPEG")
            tried = file.getvalue()
        with Image.open(BytesIO(tried)) as header:
            assert isinstance(header, JpegImageFile)
            whole = Frame(UPRIGHT, header.size, 0, 0, header.size, Image.Resampling.BICUBIC)
            if self(tried, header, whole) is None:
                raise DeviceUnavailable("nvImageCodec decodes no JPEG here; it needs nvidia-nvjpeg, of the gpu extra.")
        logger.info("JPEGs are decoded by nvImageCodec %s", self._codec.__version__)

    def __call__(self, data: bytes, header: JpegImageFile, frame: Frame) -> Pixels | None:
        """See ``preprocess.JpegDecoder``.

        Left to Pillow are other colours than RGB of the usual kind, what is large, and what is cut off: Pillow says
        what is wrong with it, where nvJPEG may fill it up. And what a GPU has no memory for.
        """
        large = header.width * header.height > MOST_PIXELS
        if large or not _has_usual_colours(header) or not data.endswith(_END) or frame.resample not in FILTERS:
            return None
        if not hasattr(self._own, "way"):
            self._own.way = self._opened(self._codec)
        way: _OnGpu | _OnCpu = self._own.way
        return way(data, header.size, frame)


class _OnGpu:
    """What a thread has: a decoder, and a stream that lives as long as it does."""

    def __init__(self, codec: ModuleType) -> None:
        self._cupy = import_cupy()
        # Not the default stream, which waits for the towers' and they for it.
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self._decode = open_decoder(codec, [codec.HW_GPU_ONLY, codec.GPU_ONLY, codec.HYBRID_CPU_GPU], threads=1)
        self._frame = GpuFramer(self._stream)
        self._image: Any = None

    def __call__(self, data: bytes, size: Size, frame: Frame) -> Pixels | None:
        # Into the picture before, whose memory is taken again.
        image = self._decode(data, image=self._image, cuda_stream=self._stream.ptr)
        if image is None or image.shape[:2] != size[::-1]:
            return None
        self._image = image
        try:
            return self._frame(image.cuda(synchronize=False, cuda_stream=self._stream.ptr), frame)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            logger.warning("a JPEG is decoded by the CPU, as the GPU has no memory: %s", error)
            return None


class _OnCpu:
    """The same without a GPU: nvImageCodec's decoder for the CPU, and Pillow for what comes after."""

    def __init__(self, codec: ModuleType) -> None:
        self._decode = open_decoder(codec, [codec.CPU_ONLY], threads=1)

    def __call__(self, data: bytes, size: Size, frame: Frame) -> Pixels | None:
        image = self._decode(data)
        if image is None or image.shape[:2] != size[::-1]:
            return None
        picture = turned(Image.fromarray(np.asarray(image.cpu())), frame.orientation)
        resized = resize_by_pillow(picture, frame.resized, frame.resample)
        (left, top), (width, height) = (frame.left, frame.top), frame.kept
        return np.asarray(resized.crop((left, top, left + width, top + height)))


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
