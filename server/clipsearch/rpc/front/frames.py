"""What a front and the engine say to each other: tuples of plain values, as many to a write as there are to send.

``marshal`` packs a list of them within a microsecond or two, where a message of protobuf for each would cost as much as
the call. It is for peers that trust each other and run the same Python: a front is started by its engine, from the same
files, and what it does would otherwise be done inside the engine.

The first field is the kind, the second the call's number, counted up by the front; both kinds of process send
``MESSAGE`` and ``ROOM``.
"""

import marshal
import struct
from typing import Any, Final, TypeAlias

Frame: TypeAlias = tuple[Any, ...]
Metadata: TypeAlias = list[tuple[str, str | bytes]]

ASK: Final = 0
"""(ASK, call, method, metadata): may it come in, before its message is read? Answered by LET or END."""

CALL: Final = 1
"""(CALL, call, method, metadata, deadline, peer, message): here it is. ``deadline`` is a time of this machine's
``time.monotonic`` or None, ``message`` None where messages follow. Method and metadata are None after ASK."""

LET: Final = 2
"""(LET, call): it may come in."""

MESSAGE: Final = 3
"""(MESSAGE, call, message): the next one of a stream."""

ROOM: Final = 4
"""(ROOM, call): one more message of a stream may come; ``WINDOW`` of them may without."""

CLOSED: Final = 5
"""(CLOSED, call): the client has sent its last message."""

END: Final = 6
"""(END, call, code, text, trailing metadata, message): how the call ended; ``message`` is the only one, or None."""

CANCEL: Final = 7
"""(CANCEL, call): nobody waits for it any more."""

CONFIGURE: Final = 8
"""(CONFIGURE, 0, options): the first frame to a front, the fields of ``FrontOptions``."""

LISTENING: Final = 9
"""(LISTENING, 0): the port is open."""

FAILED: Final = 10
"""(FAILED, 0, text): it cannot be opened."""

CERTIFICATES: Final = 11
"""(CERTIFICATES, 0, chain, key, client authorities or None): PEM, for connections to come."""

STOP: Final = 12
"""(STOP, 0, grace): take no more calls, end those that run after ``grace`` seconds, then end."""

WINDOW: Final = 8
"""Messages of a stream, each way, that are on their way between a front and the engine."""

_LENGTH: Final = struct.Struct("<Q")


def pack(frames: list[Frame]) -> tuple[bytes, bytes]:
    """Return what to write for some frames: a length, and as many bytes."""
    packed = marshal.dumps(frames)
    return _LENGTH.pack(len(packed)), packed


class Unpacker:
    """Turns what is read, in whatever pieces, back into frames."""

    def __init__(self) -> None:
        self._read = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was read; returns the frames that are whole with it, in their order."""
        read = self._read
        read += data
        frames: list[Frame] = []
        start, end = 0, len(read)
        with memoryview(read) as view:
            while end - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(view, start)
                first = start + _LENGTH.size
                if end - first < length:
                    break
                start = first + length
                frames += marshal.loads(view[first:start])
        del read[:start]
        return frames
