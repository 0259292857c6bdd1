"""Clients that do what no gRPC client does: others are served as ever, and what the server holds for them is little."""

import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest

from benchmarks.harness.process import family, resident_bytes
from benchmarks.harness.wire import BATCH_EMBED, EMBED_TEXT, frame
from clipsearch.cli.scrape import scrape
from clipsearch.v1 import embedding_pb2 as embedding

from .raw_http2 import RawHttp2
from .served import Client, Server, item_of, vector_of

MIB = 2**20
DEADLINE_S = 5.0
"""Of the ordinary caller's searches; they take some milliseconds."""

TEXT = embedding.EmbedTextRequest(text="a dress")
STREAM_EMBED = "/clipsearch.v1.EmbeddingService/StreamEmbed"
HEADERS, SETTINGS, PING, CONTINUATION = 1, 4, 6, 9
"""Types of HTTP/2's frames, RFC 9113, section 6."""

POST = b"\x83"
"""``:method: POST`` by HPACK's static table, RFC 7541, appendix A."""


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--metrics-listen", "127.0.0.1:0", "--query-cache-mib", "0", "--stream-window", "32")
    with Server(tmp_path_factory.mktemp("hostile") / "data", *flags) as server:
        server.client.upsert([item_of(item, 0) for item in range(20)])
        yield server


@contextmanager
def undisturbed(server: Server, grown_mib: float) -> Iterator[None]:
    """What happens inside disturbs nobody: an ordinary caller is answered all along, and after it no lane holds
    anything, the log has no complaint and the memory of the server's processes has grown by no more than this.
    """
    pid, over = server.process.pid, threading.Event()
    answered, failures = [0], []

    def search() -> None:
        with grpc.insecure_channel(server.address) as channel:
            client = Client(channel)
            while not over.wait(0.01):
                try:
                    began = time.monotonic()
                    assert client.search(vector_of(1, 0), 1).hits[0].id == "i001"
                    assert time.monotonic() - began < DEADLINE_S
                    answered[0] += 1
                except (grpc.RpcError, AssertionError) as error:
                    failures.append(error)

    before, complaints = resident_bytes(pid), len(server.troubles())
    ordinary = threading.Thread(target=search)
    ordinary.start()
    try:
        yield
        assert not any(held(server).values()), held(server)
        assert resident_bytes(pid) - before < grown_mib * MIB
    finally:
        over.set()
        ordinary.join()
    assert not failures
    assert answered[0] > 5
    assert server.client.health() == 1
    assert server.troubles()[complaints:] == []


def held(server: Server) -> dict[str, float]:
    """The places that are held in each lane, but for those of the ordinary caller."""
    address = f"127.0.0.1:{server.wait_for('metrics on .* port ([0-9]+)$')[1]}"
    return {lane: scrape(address).total("clipsearch_lane_items", lane=lane) for lane in ("text", "image", "write")}


def encoded(server: Server) -> float:
    """The texts that were encoded since the start."""
    address = f"127.0.0.1:{server.wait_for('metrics on .* port ([0-9]+)$')[1]}"
    return scrape(address).total("clipsearch_batch_items_sum", lane="text")


def raw(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame, RFC 9113, section 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def flood(client: RawHttp2, frames: bytes, times: int) -> None:
    """Send the same frames again and again, until the server hangs up."""
    for _ in range(times):
        if not client.write(frames):
            break
        client.receive(0.001)
        if client.terminated is not None:
            break
    client.receive(2.0 if client.terminated is None else 0.0)


def test_answers_that_nobody_reads_hold_no_place(server: Server) -> None:
    """Ten batches whose answers the client never lets in."""
    inputs = [embedding.EmbedInput(text=f"dress {n}") for n in range(64)]
    with undisturbed(server, 48), RawHttp2(server.address, window=0) as client:
        for _ in range(10):
            client.call(BATCH_EMBED, embedding.BatchEmbedRequest(inputs=inputs))
        client.receive(2.0)
        assert not client.ended, "else something was let in"
        assert client.terminated is None


def test_a_stream_that_nobody_reads_is_not_read_either(server: Server) -> None:
    """Of what is sent, only a window of items is taken in, and as many as gRPC has room for answers: 64 KiB."""
    item = frame(embedding.StreamEmbedRequest(item_id="1", input=embedding.EmbedInput(text="a dress " * 900)))
    sent, before = 0, encoded(server)
    with undisturbed(server, 48), RawHttp2(server.address, window=0) as client:
        stream = client.open(STREAM_EMBED)
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            if client.h2.local_flow_control_window(stream) >= len(item):
                client.send(stream, item)
                sent += 1
            else:
                client.receive(0.05)
        assert not client.ended
        assert 32 <= encoded(server) - before < min(400, sent)


def test_calls_that_are_opened_and_left_alone_hold_nothing(server: Server) -> None:
    with undisturbed(server, 32), RawHttp2(server.address) as client:
        for _ in range(90):
            client.open(EMBED_TEXT)
        client.flush()
        client.receive(0.5)
        assert not client.ended


@pytest.mark.parametrize("sent", [b"", b"\0\0\0", frame(TEXT)[:-2]], ids=["nothing", "half a prefix", "half a message"])
def test_a_call_that_ends_before_its_message_holds_nothing(server: Server, sent: bytes) -> None:
    """It is half closed by the client, who will hear nothing before its deadline: gRPC takes it for cancelled."""
    with undisturbed(server, 16), RawHttp2(server.address) as client:
        for _ in range(20):
            client.send(client.open(EMBED_TEXT), sent, end=True)
        client.receive(0.3)
        assert all(trailers.get("grpc-status") != "0" for trailers in client.ended.values())
        good = client.call(EMBED_TEXT, TEXT)
        client.receive(5.0, until=len(client.ended) + 1)
        assert client.ended[good]["grpc-status"] == "0", "the connection is as good as before"


def test_calls_that_are_reset_as_fast_as_they_are_opened(server: Server) -> None:
    """CVE-2023-44487, "rapid reset"."""
    with undisturbed(server, 64), RawHttp2(server.address) as client:
        for _ in range(60):
            for _ in range(100):
                client.h2.reset_stream(client.open(EMBED_TEXT), 8)
            if not client.flush():
                break
            client.receive(0.001)
        client.receive(0.3)


@pytest.mark.parametrize("size", [10, 8000])
def test_headers_without_an_end(server: Server, size: int) -> None:
    """CVE-2024-27316, "CONTINUATION flood": the connection is closed long before this could fill the memory."""
    value = b"\x7f" + _hpack_rest(size) + b"h" * size if size > 126 else bytes([size]) + b"h" * size
    more = raw(CONTINUATION, 0, 1, b"\x00\x05x-abc" + value)
    with undisturbed(server, 16), RawHttp2(server.address) as client:
        client.write(raw(HEADERS, 0, 1, POST))
        flood(client, more * max(1, 8000 // size), 100_000)
        assert client.terminated is not None


def _hpack_rest(length: int) -> bytes:
    """The rest of a length whose first seven bits are all set, RFC 7541, section 5.1."""
    length -= 127
    out = bytearray()
    while length >= 128:
        out.append(length % 128 + 128)
        length //= 128
    return bytes([*out, length])


def test_too_much_metadata_is_refused_and_the_connection_lives_on(server: Server) -> None:
    with undisturbed(server, 16), RawHttp2(server.address) as client:
        large = client.open(EMBED_TEXT, [(f"x-{n}", "v" * 1000) for n in range(40)])
        client.flush()
        client.receive(5.0, until=1)
        assert client.ended[large].get("grpc-status") != "0"
        good = client.call(EMBED_TEXT, TEXT)
        client.receive(5.0, until=2)
        assert client.ended[good]["grpc-status"] == "0"


def test_pings_by_the_thousand_end_the_connection(server: Server) -> None:
    with undisturbed(server, 16), RawHttp2(server.address) as client:
        flood(client, raw(PING, 0, 0, b"12345678") * 100, 200)
        assert client.terminated == "too_many_pings"


def test_settings_by_the_thousand(server: Server) -> None:
    with undisturbed(server, 16), RawHttp2(server.address) as client:
        flood(client, raw(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)) * 100, 300)


def test_a_thousand_idle_connections(server: Server) -> None:
    processes = family(server.process.pid)

    def files() -> int:
        return sum(process.num_fds() for process in processes)

    before = files()
    with undisturbed(server, 64):
        with ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(RawHttp2(server.address, greet=False))
            _wait(lambda: files() >= before + 1000)
            time.sleep(1.0)
        _wait(lambda: files() < before + 50)


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
