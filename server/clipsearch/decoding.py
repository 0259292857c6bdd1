"""Where pictures are decoded, wired from the settings: threads, and behind each a process, or not."""

from concurrent.futures import ThreadPoolExecutor

from clipsearch.encoders.isolation import IsolatedPreprocessor, PictureBudget, memory_for
from clipsearch.encoders.load import Encoders
from clipsearch.encoders.preprocess import ImageLimits
from clipsearch.ports import ImagePreprocessor
from clipsearch.settings import MIB, Settings


class Decoding:
    """``preprocess`` turns pictures into pixels on whatever thread calls it; ``threads`` are those for calls."""

    def __init__(self, settings: Settings, encoders: Encoders) -> None:
        self.count = settings.decode_threads or settings.cores
        self.threads = ThreadPoolExecutor(self.count, thread_name_prefix="decode")
        self.isolated = _isolated(settings, encoders) if settings.decode_isolation == "process" else None
        """The processes; None where there are none."""
        self.preprocess: ImagePreprocessor = self.isolated or encoders.preprocessor

    def start(self) -> None:
        """Have the processes ready; raises ConfigError where they do not start."""
        if self.isolated is not None:
            self.isolated.start(self.count)

    def stop(self) -> None:
        """End threads and processes, once nobody needs them any more."""
        self.threads.shutdown()
        if self.isolated is not None:
            self.isolated.close()


def image_limits(settings: Settings) -> ImageLimits:
    """What a picture may measure, and how carefully it is decoded."""
    return ImageLimits(settings.max_image_bytes, settings.max_image_pixels, settings.jpeg_oversampling)


def _isolated(settings: Settings, encoders: Encoders) -> IsolatedPreprocessor:
    memory_bytes = settings.decode_memory_mib * MIB or memory_for(settings.max_image_pixels)
    budget = PictureBudget(settings.decode_timeout_s, memory_bytes)
    manifest = encoders.manifest
    return IsolatedPreprocessor(manifest.preprocess, manifest.image_size, image_limits(settings), budget)
