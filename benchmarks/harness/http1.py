"""Calls over HTTP/1.1: one at a time on each connection."""

import re
from collections.abc import Sequence
from typing import Final

from .connection import Connection, Target, WrongAnswer

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Http1Connection(Connection):
    """Answers are right where their status is 200."""

    def __init__(self, target: Target, bodies: Sequence[bytes]) -> None:
        """Connect; raises OSError where that cannot be done."""
        super().__init__(target, bodies, calls=1)
        named = {"host": f"{target.host}:{target.port}", **target.headers}
        head = "\r\n".join([f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())])
        self._requests = [f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._sent = 0

    def _call(self, body: int) -> None:
        self._sent = body
        self._out.append(self._requests[body])

    def _take(self, data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return data
        length = _LENGTH.search(data, 0, end)
        if not data.startswith(b"HTTP/1.1 200") or length is None:
            raise WrongAnswer(f"an answer begins with {data[:300]!r}")
        whole = end + 4 + int(length[1])
        if len(data) < whole:
            return data
        self._answered(self._sent)
        return data[whole:]
