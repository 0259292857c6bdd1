"""Where pictures are decoded, wired from the settings: threads, and behind each a process, or not."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from clipsearch.encoders.isolation import IsolatedPreprocessor, PictureBudget, memory_for
from clipsearch.encoders.load import Encoders
from clipsearch.encoders.manifest import PreprocessRule
from clipsearch.encoders.nvjpeg import NvJpeg
from clipsearch.encoders.preprocess import ImageLimits
from clipsearch.ports import ImagePreprocessor
from clipsearch.settings import MIB, Settings

_Way = tuple[PreprocessRule, int]


class Decoding:
    """``threads`` are those for calls; what turns pictures into a model's pixels is taken and given back.

    Models that want the same pixels, as precisions of one checkpoint do, share the processes.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises DeviceUnavailable where JPEGs are to be decoded on a GPU and cannot."""
        self._settings = settings
        self.jpegs = NvJpeg() if settings.jpeg_decoder == "nvjpeg" else None
        """What decodes JPEGs in this process before Pillow is asked to; None where nothing does."""
        self.count = decode_threads(settings)
        self.threads = ThreadPoolExecutor(self.count, thread_name_prefix="decode")
        self.isolated: IsolatedPreprocessor | None = None
        """The processes that were taken last; None where there are none."""
        self._lock = threading.Lock()
        self._processes: dict[_Way, IsolatedPreprocessor] = {}
        self._users: Counter[_Way] = Counter()
        self._started = False

    def take(self, encoders: Encoders) -> ImagePreprocessor:
        """Return what makes pixels for a bundle; ready if ``start`` was called. Raises ConfigError as that does."""
        if self._settings.decode_isolation == "none":
            return encoders.preprocessor
        way = _way(encoders)
        with self._lock:
            isolated = self._processes.get(way) or self._new(encoders)
            self._processes[way] = self.isolated = isolated
            self._users[way] += 1
            return isolated

    def give_back(self, encoders: Encoders) -> None:
        """End what was taken for a bundle, once nobody has it any more."""
        if self._settings.decode_isolation == "none":
            return
        way = _way(encoders)
        with self._lock:
            self._users[way] -= 1
            ending = None if self._users[way] else self._processes.pop(way, None)
        if ending is not None:
            ending.close()

    def start(self) -> None:
        """Have the processes ready; raises ConfigError where they do not start."""
        with self._lock:
            self._started = True
            for isolated in self._processes.values():
                isolated.start(self.count)

    def pids(self) -> list[int]:
        """Return the ids of the processes there are."""
        with self._lock:
            return [pid for isolated in self._processes.values() for pid in isolated.pids]

    def stop(self) -> None:
        """End threads and processes, once nobody needs them any more."""
        self.threads.shutdown()
        with self._lock:
            for isolated in self._processes.values():
                isolated.close()

    def _new(self, encoders: Encoders) -> IsolatedPreprocessor:
        settings, manifest = self._settings, encoders.manifest
        memory_bytes = settings.decode_memory_mib * MIB or memory_for(settings.max_image_pixels)
        budget = PictureBudget(settings.decode_timeout_s, memory_bytes)
        isolated = IsolatedPreprocessor(manifest.preprocess, manifest.image_size, image_limits(settings), budget)
        if self._started:
            try:
                isolated.start(self.count)
            except BaseException:
                isolated.close()
                raise
        return isolated


def decode_threads(settings: Settings) -> int:
    """How many pictures are decoded at once."""
    return settings.decode_threads or settings.cores


def image_limits(settings: Settings) -> ImageLimits:
    """What a picture may measure, and how carefully it is decoded."""
    return ImageLimits(settings.max_image_bytes, settings.max_image_pixels, settings.jpeg_oversampling)


def _way(encoders: Encoders) -> _Way:
    return encoders.manifest.preprocess, encoders.manifest.image_size
