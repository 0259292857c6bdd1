"""Decoding in processes of its own, so that a picture can end at most the process that decodes it.

Each process serves one thread at a time; a thread that calls takes one that is idle, or starts one, so there are never
more than threads that call. A process that dies, hangs or takes too much memory is replaced, and its picture alone
fails. See docs/decisions/0006-decoding.md for what this costs and what the alternatives were.

The processes are started as new programs rather than forked: a fork of a process with threads copies locks that nobody
holds any more. They end when their pipe does, so also when this process is killed.
"""

import contextlib
import json
import logging
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from clipsearch.encoders import decoder_child as child
from clipsearch.encoders.manifest import PreprocessRule
from clipsearch.encoders.preprocess import ImageLimits, check_bytes
from clipsearch.errors import (
    ClipsearchError,
    ConfigError,
    CorruptImage,
    DecoderDied,
    ImageTooCostly,
    ShuttingDown,
    TooManyPixels,
    UnsupportedImage,
)
from clipsearch.ports import Pixels

logger = logging.getLogger(__name__)

_TOLD: Final = {kind.reason: kind for kind in (TooManyPixels, UnsupportedImage, CorruptImage)}
"""What a process may say of a picture; anything else it says is not believed."""

_MOST_TOLD_BYTES: Final = 2**16
_START_LIMIT_S: Final = 60.0
_ALARM_LATE_S: Final = 5.0
"""How much later than its own alarm a process is ended from here: it may be stopped, or the machine very busy."""

_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    # glibc would return the memory of each picture to the system and take it again for the next, a page at a time.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
"""All there is in a process's environment but where to import from: the server's own may hold secrets."""

_BYTES_PER_PIXEL: Final = 20
_BESIDE_PIXELS: Final = 256 * 2**20


@dataclass(frozen=True, slots=True)
class PictureBudget:
    """What decoding one picture may take: seconds, and bytes of memory."""

    timeout_s: float
    memory_bytes: int


def memory_for(max_pixels: int) -> int:
    """Return the bytes that a picture of ``max_pixels`` may need: up to five copies of four bytes a pixel (decoded,
    turned, with transparency, its white ground, and one in flight), and room for the decoder itself.
    """
    return _BYTES_PER_PIXEL * max_pixels + _BESIDE_PIXELS


class IsolatedPreprocessor:
    """The preprocessing rule in other processes; see ``ports.ImagePreprocessor``. ``close`` ends them."""

    def __init__(self, rule: PreprocessRule, image_size: int, limits: ImageLimits, budget: PictureBudget) -> None:
        self.image_size = image_size
        self._rule, self._limits, self._budget = rule, limits, budget
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self._all: set[_Decoder] = set()
        self._closed = False

    def start(self, count: int) -> None:
        """Have ``count`` processes ready; a tenth of a second each. Raises ConfigError where they don't start."""
        started = [self._start() for _ in range(count)]
        for decoder in started:
            decoder.wait_until_ready()
        with self._lock:
            self._idle += started

    def __call__(self, data: bytes) -> Pixels:
        """Return uint8 [size, size, 3], as ``PillowPreprocessor`` does, or raise what it raises.

        Raises DecoderDied where the process ended, ImageTooCostly where the picture took too much time or memory, and
        ShuttingDown after ``close``.
        """
        check_bytes(data, self._limits)
        decoder = self._take()
        try:
            answer = decoder.decode(data)
        except BaseException:
            self._replace(decoder)
            raise
        with self._lock:
            self._idle.append(decoder)
        if isinstance(answer, ClipsearchError):
            raise answer
        return answer

    def close(self) -> None:
        """End all processes, also those at work."""
        with self._lock:
            self._closed = True
            ending, self._all = self._all, set()
            self._idle.clear()
        for decoder in ending:
            decoder.end()

    @property
    def pids(self) -> list[int]:
        """Process ids of the decoders there are."""
        with self._lock:
            return [decoder.pid for decoder in self._all]

    def _take(self) -> "_Decoder":
        while True:
            with self._lock:
                decoder = self._idle.pop() if self._idle else None
            if decoder is None:
                return self._start()
            if decoder.alive():
                return decoder
            # It died while nobody used it, so nobody needs to be told but the log.
            self._replace(decoder)

    def _start(self) -> "_Decoder":
        with self._lock:
            if self._closed:
                raise ShuttingDown("the server is shutting down")
            decoder = _Decoder(self._rule, self.image_size, self._limits, self._budget)
            self._all.add(decoder)
            return decoder

    def _replace(self, decoder: "_Decoder") -> None:
        status = decoder.end()
        with self._lock:
            self._all.discard(decoder)
            closed = self._closed
        if closed:
            return
        logger.warning("a decoder process ended with status %d; starting another", status)
        with contextlib.suppress(ShuttingDown):
            # It gets ready while this thread tells its caller.
            fresh = self._start()
            with self._lock:
                # Below the others: they are ready, and the last one is taken first.
                self._idle.insert(0, fresh)


class _Decoder:
    """One process, used by one thread at a time."""

    def __init__(self, rule: PreprocessRule, image_size: int, limits: ImageLimits, budget: PictureBudget) -> None:
        self._budget = budget
        self._shape = (image_size, image_size, 3)
        size = max(limits.max_bytes, image_size * image_size * 3)
        with _shared_file(size) as descriptor:
            self._shared = mmap.mmap(descriptor, size)
            job = child.Job(rule, image_size, limits, budget.memory_bytes, budget.timeout_s, descriptor, size)
            self._process = subprocess.Popen(
                # Without the working directory among the places to import from.
                [sys.executable, "-P", "-m", child.__name__, job.to_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=(descriptor,),
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **_ENVIRONMENT},
                # Not the terminal's, whose Ctrl-C goes to the whole group while the server wants to drain.
                process_group=0,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        self._ready = False
        self.pid = self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        if self._ready:
            return
        kind, _ = self._answer(_START_LIMIT_S)
        if kind != child.READY:
            raise ConfigError("a decoder process did not start; what it wrote is above")
        self._ready = True

    def decode(self, data: bytes) -> Pixels | ClipsearchError:
        """Return the pixels, or what the process says against the picture. What is raised says that it is done for."""
        self.wait_until_ready()
        self._shared[: len(data)] = data
        with contextlib.suppress(BrokenPipeError):  # which the answer will tell
            self._requests.write(child.REQUEST.pack(len(data)))
        kind, text = self._answer(self._budget.timeout_s + _ALARM_LATE_S)
        if kind == child.PIXELS:
            count = self._shape[0] * self._shape[1] * self._shape[2]
            return np.frombuffer(self._shared, np.uint8, count).reshape(self._shape).copy()
        if kind == child.REFUSED and (told := _told(text)) is not None:
            return told
        if kind == child.OUT_OF_MEMORY:
            raise _too_costly("memory", f"{self._budget.memory_bytes >> 20} MiB")
        raise DecoderDied("the process that decoded this picture ended before it was done", retry_after_s=0.1)

    def _answer(self, limit_s: float) -> tuple[int | None, bytes]:
        """Wait for an answer: its kind, None where the process is gone or makes no sense, and its text.

        Raises ImageTooCostly where there is none in time.
        """
        if not self._poll.poll(limit_s * 1e3):
            raise _too_costly("time", f"{limit_s:g} s")
        head = child.read_exactly(self._answers.fileno(), child.ANSWER.size)
        if len(head) < child.ANSWER.size:
            # Ended by its own alarm: this is what its timeout looks like from here.
            if self._process.wait() == -signal.SIGALRM:
                raise _too_costly("time", f"{self._budget.timeout_s:g} s")
            return None, b""
        kind, length = child.ANSWER.unpack(head)
        if length > _MOST_TOLD_BYTES:
            return None, b""
        return kind, child.read_exactly(self._answers.fileno(), length)

    def end(self) -> int:
        """Kill it, and return the status it ended with, now or before; negative: by this signal."""
        self._process.kill()
        status = self._process.wait()
        self._requests.close()
        self._answers.close()
        return status


def _too_costly(resource: str, limit: str) -> ImageTooCostly:
    return ImageTooCostly(
        f"The picture takes more {resource} to decode than the {limit} a picture may take.",
        metadata={"resource": resource, "limit": limit},
    )


def _told(text: bytes) -> ClipsearchError | None:
    """Read what a process says against a picture; None where that is nothing it should say."""
    try:
        raw: Any = json.loads(text)
        kind, metadata = _TOLD[raw["reason"]], raw["metadata"].items()
        return kind(str(raw["message"]), metadata={str(name): str(value) for name, value in metadata})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@contextlib.contextmanager
def _shared_file(size: int) -> Any:
    """Give the descriptor of a file in memory, which goes away with its last user."""
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("clipsearch-picture"), "r+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115  closed below
    with file:
        os.ftruncate(file.fileno(), size)
        yield file.fileno()
