"""One connection of the closed loop's sender: calls from its own bodies, and what every protocol needs of a socket."""

import socket
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CONNECTING_S: Final = 10.0
_READ_BYTES: Final = 1 << 18


class WrongAnswer(Exception):
    """The server did not do as it should; the message says what it did."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where calls go, and with which headers."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    path: str
    headers: Mapping[str, str]


class Connection(ABC):
    """Keeps ``calls`` calls in flight, no body twice at once but where it was given twice; used by one thread.

    ``bodies`` are sent in turn, as those before are answered. ``answered`` counts the answers by body.
    """

    def __init__(self, target: Target, bodies: Sequence[bytes], calls: int) -> None:
        """Connect; raises OSError where that cannot be done."""
        sock = socket.create_connection((target.host, target.port), CONNECTING_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock if target.tls is None else target.tls.wrap_socket(sock, server_hostname=target.host)
        self._socket.setblocking(False)
        self._bodies = bodies
        self._calls = calls
        self._waiting = deque(range(len(bodies)))
        self._received = b""
        self._unsent = b""
        self._out: list[bytes] = []
        self.in_flight = 0
        self.answered = [0] * len(bodies)
        self.ending = False
        """Whether no more calls are to begin."""

    def fileno(self) -> int:
        """For a poller."""
        return self._socket.fileno()

    @property
    def blocked(self) -> bool:
        """Whether the socket took less than there was to send: ``write`` is to be called when it takes more."""
        return bool(self._unsent)

    def begin(self) -> None:
        """Send the first calls."""
        for _ in range(self._calls):
            self._call_next()
        self.write()

    def read(self) -> None:
        """Take what came and send what is next; raises WrongAnswer, also where the connection was closed."""
        data = self._receive()
        self._received = self._take(self._received + data if self._received else data)
        self.write()

    def write(self) -> None:
        """Send what there is to send, as far as the socket takes it."""
        data = self._unsent + b"".join(self._out)
        self._out.clear()
        try:
            sent = self._socket.send(data) if data else 0
        except (BlockingIOError, ssl.SSLWantWriteError):
            sent = 0
        self._unsent = data[sent:]

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(_READ_BYTES)
            while isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
                data += self._socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        if not data:
            raise WrongAnswer("the server closed a connection")
        return data

    def _call_next(self) -> None:
        if not self.ending:
            self.in_flight += 1
            self._call(self._waiting.popleft())

    def _answered(self, body: int) -> None:
        self.answered[body] += 1
        self.in_flight -= 1
        self._waiting.append(body)
        self._call_next()

    @abstractmethod
    def _call(self, body: int) -> None:
        """Put a call with the body of this number into ``_out``, as far as it may be sent."""

    @abstractmethod
    def _take(self, data: bytes) -> bytes:
        """Take whole answers, calling ``_answered`` for each; returns what is of one that is not whole."""
