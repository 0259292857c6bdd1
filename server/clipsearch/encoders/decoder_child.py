"""The program of a decoder process: one picture after the other, until its standard input ends.

It is told what to do in JSON by its argument. Pictures and pixels pass through memory that it shares with its parent;
the pipes carry their lengths and what went wrong. Its answers are numbers and JSON and never pickles, because a picture
that took this process over must not take over the parent by what it answers.

It gives up what it does not need: memory beyond its limit, files, core dumps. A picture that takes too long is ended
by an alarm of the kernel, which also works while a decoder in C hangs, and when the parent is gone.
"""

import json
import mmap
import os
import resource
import signal
import struct
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from clipsearch.encoders.manifest import PreprocessRule
from clipsearch.encoders.preprocess import FORMATS, ImageLimits, PillowPreprocessor
from clipsearch.errors import ClipsearchError

REQUEST: Final = struct.Struct("<Q")
"""Length of the picture in the shared memory."""

ANSWER: Final = struct.Struct("<BI")
"""One of the kinds below, and the length of the JSON that follows."""

READY, PIXELS, REFUSED, OUT_OF_MEMORY = range(4)

_FEW_FILES: Final = 32
_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Job:
    """What a decoder process is for. ``memory_bytes`` is what one picture may take, ``timeout_s`` how long."""

    rule: PreprocessRule
    image_size: int
    limits: ImageLimits
    memory_bytes: int
    timeout_s: float
    shared_fd: int
    shared_bytes: int

    def to_json(self) -> str:
        """Return the program's argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Read the program's argument."""
        raw: dict[str, Any] = json.loads(text)
        # JSON has no tuples; nothing that is a list there is one here.
        rule: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.pop("rule").items()}
        return cls(rule=PreprocessRule(**rule), limits=ImageLimits(**raw.pop("limits")), **raw)


def read_exactly(descriptor: int, count: int) -> bytes:
    """Read ``count`` bytes of a pipe; fewer only where it ended."""
    parts = bytearray()
    while len(parts) < count and (part := os.read(descriptor, count - len(parts))):
        parts += part
    return bytes(parts)


def main(argument: str) -> None:
    """Serve until the parent closes the pipe, or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Sent to all processes of a service: the parent drains then, and needs its decoders to the end.
        signal.signal(number, signal.SIG_IGN)
    job = Job.from_json(argument)
    shared = mmap.mmap(job.shared_fd, job.shared_bytes)
    os.close(job.shared_fd)
    preprocess = PillowPreprocessor(job.rule, job.image_size, job.limits)
    for name in FORMATS:
        # Now, because Pillow would look for them when it meets the first picture, with too few files left to open.
        import_module(f"PIL.{name.capitalize()}ImagePlugin" if name != "WEBP" else "PIL.WebPImagePlugin")
    _give_up(job.memory_bytes)
    os.write(1, ANSWER.pack(READY, 0))
    while len(head := read_exactly(0, REQUEST.size)) == REQUEST.size:
        (length,) = REQUEST.unpack(head)
        signal.setitimer(signal.ITIMER_REAL, job.timeout_s)
        answer = _answer(preprocess, shared, length)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        os.write(1, answer)


def _answer(preprocess: PillowPreprocessor, shared: mmap.mmap, length: int) -> bytes:
    try:
        pixels = preprocess(shared[:length])
    except MemoryError:
        return ANSWER.pack(OUT_OF_MEMORY, 0)
    except ClipsearchError as error:
        told = {"reason": error.reason, "message": error.message[:1000], "metadata": error.metadata}
        text = json.dumps(told).encode()
        return ANSWER.pack(REFUSED, len(text)) + text
    shared[: pixels.nbytes] = pixels.tobytes()
    return ANSWER.pack(PIXELS, 0)


def _give_up(memory_bytes: int) -> None:
    """Leave no more than decoding takes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FEW_FILES, _FEW_FILES))
    if _STATM.exists():
        used = int(_STATM.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))
    # Decoders in C complain there in words of the picture's; until now it told why a start failed.
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


if __name__ == "__main__":
    main(sys.argv[1])
