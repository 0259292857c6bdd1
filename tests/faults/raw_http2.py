"""An HTTP/2 client that does as little as it is told, to behave as no gRPC client would."""

import socket
import time
from collections.abc import Sequence

from google.protobuf.message import Message
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from benchmarks.harness.wire import frame

Headers = Sequence[tuple[str, str]]


class RawHttp2:
    """One connection; use as a context manager.

    ``window`` is how many bytes of each answer the server may send; without ``greet`` nobody waits for its settings.
    """

    def __init__(self, address: str, *, window: int | None = None, greet: bool = True) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._host, self._greet = address, greet
        self.h2 = H2Connection(H2Configuration(client_side=True, validate_outbound_headers=False))
        if window is not None:
            self.h2.local_settings = type(self.h2.local_settings)(
                client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.ENABLE_PUSH: 0}
            )
        self.ended: dict[int, dict[str, str]] = {}
        """Trailers of the streams that ended, by number; ``reset`` stands for them where one was reset."""
        self.terminated: str | None = None
        """What the server said when it ended the connection; empty where it only closed it."""

    def __enter__(self) -> "RawHttp2":
        self.socket = socket.create_connection(self._address, timeout=10)
        self.socket.settimeout(0.02)
        self.h2.initiate_connection()
        self.flush()
        if self._greet:
            self.receive(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def open(self, method: str, extra: Headers = (), *, end: bool = False) -> int:
        """Begin a call; returns its stream's number."""
        stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", self._host),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *extra,
        ]
        self.h2.send_headers(stream, headers, end_stream=end)
        return stream

    def call(self, method: str, request: Message) -> int:
        """Make a call as a client should; returns its stream's number."""
        stream = self.open(method)
        self.send(stream, frame(request), end=True)
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send bytes of a stream."""
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def flush(self) -> bool:
        """Send what is to be sent; False where the server takes no more for now, or for good."""
        return self.write(self.h2.data_to_send())

    def write(self, data: bytes) -> bool:
        """Send raw bytes, as ``flush`` does."""
        self.socket.settimeout(5.0)
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        finally:
            self.socket.settimeout(0.02)
        return True

    def receive(self, seconds: float, *, until: int = 0) -> None:
        """Read for so long, or until ``until`` streams have ended or the server hung up. Windows stay as they are."""
        over = time.monotonic() + seconds
        while time.monotonic() < over and self.terminated is None and not 0 < until <= len(self.ended):
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                self.terminated = ""
                return
            if not data:
                self.terminated = self.terminated or ""
                return
            try:
                for event in self.h2.receive_data(data):
                    self._note(event)
            except ProtocolError:
                self.terminated = ""
                return
            self.flush()

    def _note(self, event: Event) -> None:
        if isinstance(event, TrailersReceived | ResponseReceived):
            trailers = {_text(name): _text(value) for name, value in event.headers}
            if "grpc-status" in trailers:  # of a call that was refused with its very headers, too
                self.ended[event.stream_id] = trailers
        elif isinstance(event, StreamReset):
            self.ended.setdefault(event.stream_id, {"reset": str(event.error_code)})
        elif isinstance(event, StreamEnded):
            self.ended.setdefault(event.stream_id, {})
        elif isinstance(event, ConnectionTerminated):
            self.terminated = _text(event.additional_data or b"")


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
