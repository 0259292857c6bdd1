"""Calls that come in by front processes: what a client sees, and what becomes of both kinds of process.

That answers and errors are what they are without fronts is shown by all tests of the session's server, which has one.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from clipsearch.app import App
from clipsearch.cli.scrape import scrape
from clipsearch.client import Client, RetryPolicy
from clipsearch.encoders.towers import OnnxTextEncoder
from clipsearch.errors import ConfigError
from clipsearch.settings import Settings
from clipsearch.v1 import embedding_pb2 as pb
from clipsearch.v1.embedding_pb2_grpc import EmbeddingServiceStub
from tests.faults.served import Server
from tests.integration.support import SAMPLE_BUNDLE, Running
from tests.waiting import eventually

EMBED_TEXT = "/clipsearch.v1.EmbeddingService/EmbedText"


def settings(listen: str = "127.0.0.1:0", fronts: int = 2) -> Settings:
    return Settings(
        bundle=SAMPLE_BUNDLE,
        listen=listen,
        device="cpu",
        decode_isolation="none",
        fronts=fronts,
        encoder_workers=1,
        query_cache_mib=0,
        metrics_listen="127.0.0.1:0",
    )


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Running]:
    with Running(settings()) as running:
        yield running


def fronts(server: Running) -> list[int]:
    return server.app._server.fronts()


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Held:
    """Keeps the text tower from answering until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.entered = threading.Event(), threading.Event()
        run = OnnxTextEncoder.encode

        def encode(encoder: OnnxTextEncoder, batch: object) -> object:
            self.entered.set()
            assert self.go.wait(60.0)
            return run(encoder, batch)  # type: ignore[arg-type]

        monkeypatch.setattr(OnnxTextEncoder, "encode", encode)


@pytest.fixture(name="held")
def _held(server: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held(monkeypatch)
    yield held
    held.go.set()


def embed(address: str, text: str = "a dress", timeout_s: float = 30.0) -> pb.EmbedTextResponse:
    with grpc.insecure_channel(address) as channel:
        answer: pb.EmbedTextResponse = EmbeddingServiceStub(channel).EmbedText(
            pb.EmbedTextRequest(text=text), timeout=timeout_s
        )
        return answer


def test_connections_are_dealt_out_and_all_fronts_answer_alike(server: Running) -> None:
    assert len(set(fronts(server))) == 2
    assert os.getpid() not in fronts(server)
    answers = {bytes(embed(server.address).embedding.SerializeToString()) for _ in range(20)}
    assert len(answers) == 1


def test_a_method_that_is_not_there_and_a_call_without_a_message(server: Running) -> None:
    with grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/clipsearch.v1.SearchService/Nothing")(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary("/google.longrunning.Operations/GetOperation")(iter(()), timeout=10)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "before its message came" in caught.value.details()


def test_whoever_hangs_up_leaves_nothing_behind(server: Running, held: Held) -> None:
    lane = server.app.lanes.text
    before = lane.counts.cancelled
    with grpc.insecure_channel(server.address) as channel:
        stub = EmbeddingServiceStub(channel)

        def ask(number: int) -> Any:
            return stub.EmbedText.future(pb.EmbedTextRequest(text=f"dress {number}"), timeout=60)

        calls = [ask(0)]
        assert held.entered.wait(30.0)
        # The only worker is held with the first, so all others wait.
        calls += [ask(number) for number in range(1, 8)]
        eventually(lambda: lane.admission.inside == 8)
        for call in calls:
            call.cancel()
        eventually(lambda: lane.admission.inside == 0)
        # What the tower has begun is done in vain; what still waited for it is dropped.
        held.go.set()
        eventually(lambda: lane.counts.cancelled >= before + 7)


def test_a_deadline_is_the_servers_as_well(server: Running, held: Held) -> None:
    def late() -> float:
        seen = scrape(f"127.0.0.1:{server.app.metrics_port}")
        return seen.total("clipsearch_requests_total", method="EmbedText", code="DEADLINE_EXCEEDED")

    before = late()
    with pytest.raises(grpc.RpcError) as caught:
        embed(server.address, timeout_s=0.2)
    assert held.entered.wait(30.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: late() == before + 1)


def test_a_client_that_stops_reading_stops_being_read(server: Running) -> None:
    sent = 0

    def requests() -> Iterator[pb.StreamEmbedRequest]:
        nonlocal sent
        for i in range(100_000):
            sent += 1
            yield pb.StreamEmbedRequest(item_id=str(i), input=pb.EmbedInput(text=f"{i % 50} dresses " * 40))

    with grpc.insecure_channel(server.address) as channel:
        call = EmbeddingServiceStub(channel).StreamEmbed(requests())
        assert next(call).item_id
        still, seen = threading.Event(), -1
        while seen != sent:
            seen = sent
            still.wait(0.5)
        assert sent < 50_000
        call.cancel()
    eventually(lambda: server.app.lanes.text.admission.inside == 0)


def test_a_front_that_dies_is_replaced_and_takes_only_its_own_calls_with_it(server: Running, held: Held) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls: list[Future[pb.EmbedTextResponse]] = [pool.submit(embed, server.address) for _ in range(8)]
        eventually(lambda: server.app.lanes.text.admission.inside == 8)
        dying, other = fronts(server)
        os.kill(dying, signal.SIGKILL)
        eventually(lambda: not is_there(dying) and len({*fronts(server)} - {dying}) == 2)
        held.go.set()
        failed = [error for call in calls if (error := call.exception(60.0)) is not None]
    assert all(isinstance(error, grpc.RpcError) for error in failed)
    assert {error.code() for error in failed} <= {grpc.StatusCode.UNAVAILABLE}  # type: ignore[attr-defined]
    assert other in fronts(server)
    for _ in range(10):
        with Client(server.address) as client:
            assert client.embed_text("a dress").vector.shape == (128,)


def test_a_client_notices_no_more_than_a_retry(server: Running) -> None:
    with Client(server.address, retry=RetryPolicy(max_attempts=8)) as client:
        client.embed_text("a dress")
        for pid in fronts(server):
            os.kill(pid, signal.SIGKILL)
        assert client.embed_text("a dress").vector.shape == (128,)
    eventually(lambda: all(map(is_there, fronts(server))))


@pytest.mark.parametrize("count", [0, 1])
async def test_the_port_is_one_servers_alone(server: Running, count: int) -> None:
    app = App(settings(server.address, count))
    with pytest.raises(ConfigError, match="cannot listen on"):
        await app.start()
    await app.stop()


def test_running_calls_end_before_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        with Running(settings(fronts=1)) as server:
            held.go.set()
            embed(server.address)
            held.go.clear()
            held.entered.clear()
            call = pool.submit(embed, server.address)
            assert held.entered.wait(30.0)
            threading.Timer(0.5, held.go.set).start()
            pids = fronts(server)
        assert call.result(30.0).embedding.float32.values
    assert not any(map(is_there, pids))


def test_fronts_end_with_an_engine_that_is_killed_and_tell_their_callers_first(tmp_path: Path) -> None:
    with Server(tmp_path, "--fronts", "2") as server:
        pids = [pid for pid in _children(server.process.pid) if "front" in _command(pid)]
        assert len(pids) == 2
        server.process.send_signal(signal.SIGSTOP)  # so that calls are under way when it happens
        with grpc.insecure_channel(server.address) as channel:
            stub = EmbeddingServiceStub(channel)
            text = pb.EmbedInput(text="a dress")
            alone = stub.EmbedText.future(pb.EmbedTextRequest(text="a dress"), timeout=30.0)
            stream = stub.StreamEmbed(iter([pb.StreamEmbedRequest(item_id="0", input=text)]), timeout=30.0)
            time.sleep(0.3)
            server.process.kill()
            server.process.wait(10.0)
            assert alone.code() is grpc.StatusCode.UNAVAILABLE
            with pytest.raises(grpc.RpcError) as ended:
                next(stream)
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        eventually(lambda: not any(map(is_there, pids)))


def test_their_processor_time_is_told(server: Running) -> None:
    def seconds() -> float:
        return scrape(f"127.0.0.1:{server.app.metrics_port}").total("clipsearch_cpu_seconds_total", part="fronts")

    before = seconds()
    with Client(server.address) as client:
        began = time.monotonic()
        while seconds() <= before:
            client.embed_text("a dress")
            assert time.monotonic() - began < 60.0


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
