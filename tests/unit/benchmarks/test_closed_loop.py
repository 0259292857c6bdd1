"""The closed loop: every answer is looked at, what is not right ends it, and servers see what clients of gRPC send.

The servers are real ones, gRPC's and Python's own.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from urllib.parse import urlsplit

import grpc
import pytest
import trustme

from benchmarks.harness import closed_loop, http2
from benchmarks.harness.closed_loop import Load, LoadError, Measured, drive, spread
from benchmarks.harness.sender import Count, Plan, Sender, dealt
from benchmarks.harness.wire import HEADERS, frame
from clipsearch.v1 import embedding_pb2

METHOD = "/test.Echo/Call"
BRIEF = Load(connections=2, streams=4, seconds=0.3, warm_up_s=0.05)


@dataclass
class Seen:
    """What a server was asked, by message."""

    bodies: Counter[bytes] = field(default_factory=Counter)
    at_once: Counter[bytes] = field(default_factory=Counter)
    most_at_once: Counter[bytes] = field(default_factory=Counter)
    metadata: set[tuple[str, str]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def call(self, body: bytes) -> Iterator[None]:
        with self.lock:
            self.bodies[body] += 1
            self.at_once[body] += 1
            self.most_at_once[body] = max(self.most_at_once[body], self.at_once[body])
        try:
            yield
        finally:
            with self.lock:
                self.at_once[body] -= 1


Answer = Callable[[bytes, grpc.ServicerContext], bytes]


def short(body: bytes, context: grpc.ServicerContext) -> bytes:
    time.sleep(0.001 * (1 + body[0] % 3))  # so that answers come in another order than calls
    return b"answer"


@contextmanager
def echo(
    answer: Answer = short, credentials: grpc.ServerCredentials | None = None, **options: int
) -> Iterator[tuple[str, Seen]]:
    """Serve METHOD; yields its URL and what is asked."""
    seen = Seen()

    def behave(body: bytes, context: grpc.ServicerContext) -> bytes:
        seen.metadata.update((name, str(value)) for name, value in context.invocation_metadata())
        with seen.call(body):
            return answer(body, context)

    handlers = {"Call": grpc.unary_unary_rpc_method_handler(behave)}
    server = grpc.server(ThreadPoolExecutor(16), options=[(f"grpc.{name}", value) for name, value in options.items()])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    if credentials is None:
        port, scheme = server.add_insecure_port("127.0.0.1:0"), "http"
    else:
        port, scheme = server.add_secure_port("127.0.0.1:0", credentials), "https"
    server.start()
    try:
        yield f"{scheme}://127.0.0.1:{port}{METHOD}", seen
    finally:
        server.stop(0).wait()


def messages(count: int, size: int = 1) -> list[bytes]:
    return [bytes((number,)) * size for number in range(count)]


def framed(messages: list[bytes]) -> list[bytes]:
    return [b"\0" + len(message).to_bytes(4, "big") + message for message in messages]


def test_a_frame_is_flag_length_message() -> None:
    message = embedding_pb2.EmbedTextRequest(text="x" * 300)
    body = frame(message)
    assert body[0] == 0
    assert int.from_bytes(body[1:5], "big") == len(body) - 5
    assert embedding_pb2.EmbedTextRequest.FromString(body[5:]) == message


def test_an_empty_message_is_a_frame_too() -> None:
    assert frame(embedding_pb2.GetModelRequest()) == b"\0\0\0\0\0"


def test_cpu_per_request() -> None:
    measured = Measured(rate=2000.0, shares=[1.0], server_cores=0.5, generator_cores=0.1)
    assert measured.server_us == pytest.approx(250.0)


@pytest.mark.parametrize(("bodies", "connections", "streams"), [(8, 2, 4), (11, 2, 4), (64, 4, 16), (64, 64, 1)])
def test_no_body_has_two_connections_where_there_are_enough(bodies: int, connections: int, streams: int) -> None:
    given = dealt(bodies, connections, streams)
    assert len(given) == connections
    assert min(map(len, given)) >= streams
    assert sorted(chain.from_iterable(given)) == list(range(bodies))


def test_fewer_bodies_are_sent_several_times_at_once() -> None:
    given = dealt(3, 2, 4)
    assert [len(numbers) for numbers in given] == [4, 4]
    assert set(Counter(chain.from_iterable(given)).values()) <= {2, 3}


def test_grpc_has_few_connections_and_http1_one_for_each_call() -> None:
    assert spread(64, 1.0, 0.5) == Load(4, 16, 1.0, 0.5)
    assert spread(2, 1.0, 0.5) == Load(2, 1, 1.0, 0.5)
    assert spread(64, 1.0, 0.5, "http1") == Load(64, 1, 1.0, 0.5)
    for uneven in (0, 7):
        with pytest.raises(ValueError, match=f"{uneven} calls cannot be spread evenly"):
            spread(uneven, 1.0, 0.5)


def test_all_bodies_are_sent_and_none_twice_at_once() -> None:
    bodies = messages(8)
    with echo() as (url, seen):
        measured = drive(url, framed(bodies), BRIEF, os.getpid())
    assert set(seen.bodies) == set(bodies)
    assert set(seen.most_at_once.values()) == {1}
    assert 0 < measured.rate * BRIEF.seconds <= sum(seen.bodies.values())
    assert sum(measured.shares) == pytest.approx(1.0)
    assert min(measured.shares) > 0
    assert measured.generator_cores > 0


def test_as_many_are_in_flight_as_asked_for() -> None:
    together, most, lock = [0], [0], threading.Lock()

    def slow(body: bytes, context: grpc.ServicerContext) -> bytes:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.02)
        with lock:
            together[0] -= 1
        return b""

    with echo(slow) as (url, _):
        drive(url, framed(messages(8)), BRIEF, os.getpid())
    assert most[0] == BRIEF.in_flight


def test_no_call_is_cancelled_at_the_end() -> None:
    cancelled = []

    def slow(body: bytes, context: grpc.ServicerContext) -> bytes:
        time.sleep(0.2)
        cancelled.append(not context.is_active())
        return b""

    with echo(slow) as (url, seen):
        drive(url, framed(messages(8)), BRIEF, os.getpid())
        assert sum(seen.at_once.values()) == 0
    assert cancelled
    assert not any(cancelled)


def test_bodies_larger_than_any_window_arrive_whole() -> None:
    bodies = messages(4, 300_000)
    with echo() as (url, seen):
        drive(url, framed(bodies), BRIEF, os.getpid())
    assert set(seen.bodies) == set(bodies)


def test_answers_of_any_size_are_taken() -> None:
    with echo(lambda body, context: body * 100_000) as (url, seen):
        drive(url, framed(messages(8)), BRIEF, os.getpid())
    assert sum(seen.bodies.values()) >= 8


def test_the_window_for_answers_is_widened_by_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than that would be above the largest there may be, and a server would leave."""
    monkeypatch.setattr(http2, "_ENOUGH", 50_000)
    with echo(lambda body, context: body * 100_000) as (url, _), ExitStack() as stack:
        bodies = [body.hex() for body in framed(messages(8))]
        port = urlsplit(url).port
        assert port is not None
        plan = Plan("127.0.0.1", port, False, METHOD, HEADERS, True, bodies, 2, 4, 0.3, 0.0)
        *_, count = Sender(plan, stack).run()
    assert isinstance(count, Count)
    assert sum(count.answered) > 16


def test_headers_arrive_as_they_are() -> None:
    with echo() as (url, seen):
        drive(url, framed(messages(2)), BRIEF, os.getpid(), headers={"x-caller": "me", "x-long": f"{'long ' * 60}end"})
    assert {("x-caller", "me"), ("x-long", f"{'long ' * 60}end")} <= seen.metadata


def test_one_call_that_fails_ends_it() -> None:
    def fails_for_one(body: bytes, context: grpc.ServicerContext) -> bytes:
        if body == b"\3":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not this one")
        return b"answer"

    with echo(fails_for_one) as (url, _), pytest.raises(LoadError, match=r"ended with .*grpc-status 3.*not this one"):
        drive(url, framed(messages(8)), BRIEF, os.getpid())


def test_a_method_that_is_not_there_ends_it() -> None:
    with echo() as (url, _), pytest.raises(LoadError, match="grpc-status 12"):
        drive(url.replace("Call", "Other"), framed(messages(8)), BRIEF, os.getpid())


def test_a_server_that_takes_fewer_at_once_ends_it() -> None:
    with (
        echo(max_concurrent_streams=2) as (url, _),
        pytest.raises(LoadError, match="takes 2 calls at once"),
    ):
        drive(url, framed(messages(8)), BRIEF, os.getpid())


def test_a_server_that_leaves_ends_it() -> None:
    def leaves(body: bytes, context: grpc.ServicerContext) -> bytes:
        time.sleep(0.02)
        return b""

    with (
        echo(leaves, max_connection_age_ms=60, max_connection_age_grace_ms=10) as (url, _),
        pytest.raises(LoadError, match=r"leaves the connection|closed a connection|ended with|reset"),
    ):
        drive(url, framed(messages(8)), Load(2, 4, 3.0, 0.0), os.getpid())


def test_nobody_who_listens_is_said() -> None:
    with echo() as (url, _):
        pass
    with pytest.raises(LoadError, match="refused"):
        drive(url, framed(messages(8)), BRIEF, os.getpid())


def test_over_tls() -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    pair = (issued.private_key_pem.bytes(), b"".join(one.bytes() for one in issued.cert_chain_pems))
    bodies = messages(8, 40_000)
    with echo(credentials=grpc.ssl_server_credentials([pair])) as (url, seen):
        measured = drive(url, framed(bodies), BRIEF, os.getpid())
    assert measured.rate > 0
    assert set(seen.bodies) == set(bodies)


def test_a_sender_that_is_too_busy_is_no_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_loop, "MOST_CORES", -1.0)
    with echo() as (url, _), pytest.raises(LoadError, match="may be what limits the rate"):
        drive(url, framed(messages(8)), BRIEF, os.getpid())


@contextmanager
def http(status: int = 200, *, length: bool = True) -> Iterator[tuple[str, Counter[bytes]]]:
    """Serve over HTTP/1.1; yields a URL and the bodies that came."""
    seen: Counter[bytes] = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            seen[self.rfile.read(int(self.headers["Content-Length"]))] += 1
            assert self.headers["x-kind"] == "test"
            self.send_response(status)
            self.send_header(*(("content-LENGTH", "50000") if length else ("Transfer-Encoding", "chunked")))
            self.end_headers()
            with suppress(ConnectionError):  # who called may have left after a look at the status
                self.wfile.write(b"x" * 50_000)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing per request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/embed", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_http1_has_one_call_in_flight_on_each_connection() -> None:
    bodies = messages(4, 100_000)
    with http() as (url, seen):
        measured = drive(url, bodies, Load(4, 1, 0.3, 0.05), os.getpid(), {"x-kind": "test"}, protocol="http1")
    assert set(seen) == set(bodies)
    assert 0 < measured.rate * 0.3 <= sum(seen.values())


@pytest.mark.parametrize(("status", "length"), [(503, True), (200, False)])
def test_http1_answers_that_are_not_right_end_it(status: int, length: bool) -> None:
    with http(status, length=length) as (url, _), pytest.raises(LoadError, match=f"HTTP/1.1 {status}"):
        drive(url, messages(4), Load(4, 1, 0.3, 0.05), os.getpid(), {"x-kind": "test"}, protocol="http1")
