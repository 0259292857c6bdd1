"""Unary gRPC calls over HTTP/2 (RFC 9113), many at once on each connection, as clients of gRPC make them.

Only what a load generator needs: requests are laid out beforehand, and answers are looked at as far as their status.
Header compression keeps no state in either direction, so headers are the same bytes in every call. A library that does
all of HTTP/2 (h2, as in tests/faults) would take several times as much of the processor, which servers need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hpack import Encoder, NeverIndexedHeaderTuple

from .connection import Connection, Target, WrongAnswer

_DATA, _HEADERS, _PRIORITY, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 2, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_TABLE_SIZE, _PUSH, _STREAMS, _STREAM_WINDOW, _FRAME_SIZE = 1, 2, 3, 4, 5

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_OK: Final = b"grpc-status\x010"
"""As it stands in trailers: the name, and a value of one byte."""

_WHOLE_WINDOW: Final = 2**31 - 1
_FIRST_WINDOW: Final = 65_535
_ENOUGH = 2**29
"""Bytes of answers after which the server is given room for as many more."""


@dataclass(slots=True)
class _Held:
    """A body that is not sent as a whole: the server takes no more of it for now."""

    stream: int
    rest: memoryview
    window: int


class Http2Connection(Connection):
    """Answers are right where they end with ``grpc-status`` 0."""

    def __init__(self, target: Target, bodies: Sequence[bytes], calls: int) -> None:
        """Connect; raises OSError where that cannot be done."""
        super().__init__(target, bodies, calls)
        self._block = _header_block(target)
        self._next_stream = 1
        self._sent: dict[int, int] = {}
        self._window, self._stream_window, self._frame_size = _FIRST_WINDOW, _FIRST_WINDOW, 16_384
        self._held: list[_Held] = []
        self._consumed = 0
        settings = ((_TABLE_SIZE, 0), (_PUSH, 0), (_STREAM_WINDOW, _WHOLE_WINDOW))
        told = b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in settings)
        self._out += [_PREFACE, _frame(_SETTINGS, 0, 0, told), _more(_WHOLE_WINDOW - _FIRST_WINDOW)]

    def _call(self, body: int) -> None:
        stream, data = self._next_stream, self._bodies[body]
        self._next_stream += 2
        self._sent[stream] = body
        self._out.append(_frame(_HEADERS, _END_HEADERS, stream, self._block))
        if not self._held and len(data) <= min(self._window, self._stream_window, self._frame_size):
            self._window -= len(data)
            self._out.append(_frame(_DATA, _END_STREAM, stream, data))
            return
        self._held.append(_Held(stream, memoryview(data), self._stream_window))
        self._send_held()

    def _send_held(self) -> None:
        for held in self._held:
            while (size := min(len(held.rest), self._window, held.window, self._frame_size)) > 0:
                part, held.rest = held.rest[:size], held.rest[size:]
                self._window -= size
                held.window -= size
                self._out.append(_frame(_DATA, 0 if held.rest else _END_STREAM, held.stream, bytes(part)))
        self._held = [held for held in self._held if held.rest]

    def _take(self, data: bytes) -> bytes:
        at, size = 0, len(data)
        while size - at >= 9:
            end = at + 9 + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == _HEADERS and flags & _END_STREAM:
                if data.find(_OK, at + 9, end) < 0:
                    raise WrongAnswer(f"a call ended with {_readable(data[at + 9 : end])}")
                self._answered(self._sent.pop(int.from_bytes(data[at + 5 : at + 9], "big")))
            elif kind == _DATA and not flags & _END_STREAM:
                self._consumed += end - at - 9
            elif kind != _HEADERS:
                self._control(kind, flags, int.from_bytes(data[at + 5 : at + 9], "big"), data[at + 9 : end])
            at = end
        if self._consumed > _ENOUGH:
            self._out.append(_more(self._consumed))
            self._consumed = 0
        return data[at:]

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _WINDOW:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind == _SETTINGS and not flags & _ACK:
            self._agree(payload)
        elif kind == _PING and not flags & _ACK:
            self._out.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            code = int.from_bytes(payload[4:8], "big")
            raise WrongAnswer(f"the server leaves the connection (code {code}: {_readable(payload[8:])})")
        elif kind == _RESET:
            raise WrongAnswer(f"the server reset a call (code {int.from_bytes(payload, 'big')})")
        elif kind not in (_SETTINGS, _PING, _PRIORITY):
            raise WrongAnswer(f"the server sent a frame of kind {kind} with flags {flags}")

    def _widen(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
        for held in self._held:
            held.window += size if held.stream == stream else 0
        self._send_held()

    def _agree(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            name, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if name == _STREAM_WINDOW:
                for held in self._held:
                    held.window += value - self._stream_window
                self._stream_window = value
            elif name == _FRAME_SIZE:
                self._frame_size = value
            elif name == _STREAMS and value < self._calls:
                raise WrongAnswer(f"the server takes {value} calls at once on a connection, not {self._calls}")
        self._out.append(_frame(_SETTINGS, _ACK, 0, b""))
        self._send_held()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _more(size: int) -> bytes:
    return _frame(_WINDOW, 0, 0, size.to_bytes(4, "big"))


def _header_block(target: Target) -> bytes:
    headers = [
        (":method", "POST"),
        (":scheme", "http" if target.tls is None else "https"),
        (":path", target.path),
        (":authority", f"{target.host}:{target.port}"),
        *target.headers.items(),
    ]
    # Never to be kept in a table that later blocks would refer to.
    return bytes(Encoder().encode([NeverIndexedHeaderTuple(*header) for header in headers], huffman=False))


def _readable(data: bytes) -> str:
    return "".join(char if char.isprintable() else " " for char in data.decode("latin-1")).strip() or "nothing"
