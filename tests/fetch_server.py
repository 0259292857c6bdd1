"""An HTTP server on loopback for tests of downloads: pictures of one's own, and everything that can go wrong.

    with FetchServer({"/shoe.jpg": jpeg}) as server:
        server.url("/shoe.jpg")           # the content, with an ETag
        server.url("/silent")             # accepts, and never answers
        server.url("/drip")               # a byte now and then, for ever; /drip-headers before the first line ends
        server.url("/endless")            # as fast as the reader takes it, without a length, for ever
        server.url("/announced")          # a Content-Length of a terabyte
        server.url("/cut")                # a Content-Length of a thousand, a hundred bytes, then the end
        server.url("/reset")              # the same, with a reset
        server.url("/bomb")               # 64 MiB of zeros in 64 KiB of gzip
        server.url("/loop")               # redirects to itself
        server.redirect("/a", url)        # a path that redirects there
        server.url("/status/404")         # any status
        server.fail_first("/shoe.jpg", [503, None], retry_after="1")   # before the good answer; None resets

It counts what it was asked for (``asked``), how many at once at most (``most_at_once``), and keeps the headers of the
last request. Nothing here sleeps longer than until the server's end, so that a test never waits for it.
"""

import os
import socket
import ssl
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

_DRIP_S = 0.01
_BOMB_BYTES = 64 << 20


@cache
def _bomb() -> bytes:
    packed = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join(packed.compress(bytes(1 << 16)) for _ in range(_BOMB_BYTES >> 16)) + packed.flush()


class FetchServer:
    """The server; a context manager. ``tls`` makes it speak https."""

    def __init__(self, files: Mapping[str, bytes] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.files = dict(files or {})
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        """Additional headers of a path's good answer."""
        self.failures: dict[str, list[int | None]] = {}
        self.retry_after: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.last_headers: Mapping[str, str] = {}
        self.most_at_once = 0
        self.stopping = threading.Event()
        self.gate = threading.Event()
        """Good answers wait for it; open unless a test closes it."""
        self.gate.set()
        self.at_once = 0
        self.changed = threading.Condition()
        self._scheme = "https" if tls else "http"
        self._http = _Server(self, tls)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._http.server_port

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the URL of a path."""
        return f"{self._scheme}://{host}:{self.port}{path}"

    def redirect(self, path: str, to: str) -> str:
        """Make a path redirect; returns its URL."""
        self.redirects[path] = to
        return self.url(path)

    def fail_first(self, path: str, failures: Sequence[int | None], retry_after: str | None = None) -> str:
        """Answer a path with these statuses (None: a reset) before its good answer; returns its URL."""
        self.failures[path] = list(failures)
        if retry_after is not None:
            self.retry_after[path] = retry_after
        return self.url(path)

    def wait_until_asked(self, at_once: int, timeout_s: float = 20) -> None:
        """Return when that many requests are being answered; raises AssertionError after the timeout."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.at_once >= at_once, timeout_s), f"only {self.at_once} requests"

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count one request as being answered."""
        with self.changed:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.at_once -= 1

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and end what still runs."""
        self.stopping.set()
        self.gate.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: FetchServer, tls: ssl.SSLContext | None) -> None:
        self.owner, self._tls = owner, tls
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        # The handshake happens here, in the connection's own thread.
        if self._tls is None:
            super().finish_request(request, client_address)  # type: ignore[arg-type]
        else:
            with self._tls.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """Readers that go away are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        owner, path = self.server.owner, urlsplit(self.path).path
        owner.asked[path] += 1
        owner.last_headers = dict(self.headers)
        with owner.counting():
            if failures := owner.failures.get(path):
                self._fail(path, failures.pop(0))
            elif path in owner.files:
                owner.gate.wait()
                self._file(path)
            elif path in owner.redirects or path == "/loop":
                self._head(302, {"Location": owner.redirects.get(path, "/loop"), "Content-Length": "0"})
            elif path.startswith("/status/"):
                self._head(int(path.removeprefix("/status/")), {"Content-Length": "0"})
            else:
                misbehave = getattr(self, "_" + path.strip("/").replace("-", "_"), None)
                if misbehave is None:
                    self._head(404, {"Content-Length": "0"})
                else:
                    self.close_connection = True
                    misbehave()

    def _file(self, path: str) -> None:
        content = self.server.owner.files[path]
        headers = {"Content-Type": "image/jpeg", "Content-Length": str(len(content))}
        self._head(200, headers | self.server.owner.headers.get(path, {}))
        self.wfile.write(content)

    def _fail(self, path: str, status: int | None) -> None:
        if status is None:
            self._reset()
            return
        pause = self.server.owner.retry_after.get(path)
        self._head(status, {"Content-Length": "0"} | ({} if pause is None else {"Retry-After": pause}))

    def _silent(self) -> None:
        self.server.owner.stopping.wait()

    def _drip(self) -> None:
        self._head(200, {"Content-Length": "50000"})
        self._drop_by_drop()

    def _drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._drop_by_drop()

    def _drop_by_drop(self) -> None:
        while not self.server.owner.stopping.wait(_DRIP_S):
            self.wfile.write(b".")

    def _endless(self) -> None:
        self._head(200, {"Connection": "close"})
        while not self.server.owner.stopping.is_set():
            self.wfile.write(bytes(1 << 16))

    def _announced(self) -> None:
        self._head(200, {"Content-Length": str(1 << 40)})
        self.wfile.write(b"the beginning")

    def _cut(self) -> None:
        self._head(200, {"Content-Length": "1000"})
        self.wfile.write(bytes(100))

    def _reset(self) -> None:
        self._cut()
        # Closing with data unsent and no time to linger is a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def _bomb(self) -> None:
        body = _bomb()
        self._head(200, {"Content-Encoding": "gzip", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
