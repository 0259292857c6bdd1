"""A picture that ends, hangs or fills its decoder is told so, and nobody else notices; decoders end with servers."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from clipsearch.client import Client, ClientError, Embedded, InvalidArgument, RetryPolicy, Unavailable
from clipsearch.settings import Settings
from clipsearch.v1 import embedding_pb2, embedding_pb2_grpc
from tests.integration.support import Running
from tests.unit.encoders.test_isolation import blank_png, picture

from .served import SAMPLE_BUNDLE, Server


@pytest.fixture
def server() -> Iterator[Running]:
    """Two decoders; pictures may take a while, but not much memory."""
    settings = Settings(
        bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu", decode_threads=2, decode_memory_mib=96
    )
    with Running(settings) as running:
        yield running


def decoders(running: Running) -> list[int]:
    return running.app.decoding.pids()


def idle(running: Running) -> list[int]:
    """The decoders without a picture; the last one gets the next."""
    isolated = running.app.decoding.isolated
    assert isolated is not None
    return [decoder.pid for decoder in isolated._idle]


def test_a_decoder_killed_mid_request_fails_that_picture_with_unavailable_and_no_other(server: Running) -> None:
    _, first = idle(server)
    # Stopped, it is in the middle of the picture that it gets until it is killed.
    os.kill(first, signal.SIGSTOP)
    with Client(server.address, retry=RetryPolicy(max_attempts=1), timeout=60) as client:
        results: dict[int, Embedded | ClientError] = {}
        for number, result in client.stream_embed((n, picture(size=(40 + n, 50))) for n in range(12)):
            results[number] = result
            if len(results) == 11:
                os.kill(first, signal.SIGKILL)
        failed = [result for result in results.values() if isinstance(result, ClientError)]
        assert len(results) == 12
        (unlucky,) = failed
        assert isinstance(unlucky, Unavailable)
        assert unlucky.reason == "DECODER_DIED"
        # As many as before, and all of them work.
        assert all(isinstance(each, Embedded) for each in client.embed_batch([picture()] * 8))
    assert len(decoders(server)) == 2
    assert first not in decoders(server)


def test_in_a_batch_the_others_are_embedded_too(server: Running) -> None:
    second, first = idle(server)
    os.kill(first, signal.SIGSTOP)
    with grpc.insecure_channel(server.address) as channel:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        inputs = [embedding_pb2.EmbedInput(image=picture(size=(40 + n, 50))) for n in range(6)]
        answer = stub.BatchEmbed.future(embedding_pb2.BatchEmbedRequest(inputs=inputs), timeout=60)
        # Until the stopped one has a picture and the other waits for more.
        while idle(server) != [second]:
            stub.GetModel(embedding_pb2.GetModelRequest())
        os.kill(first, signal.SIGKILL)
        results = answer.result().results
    kinds = [result.WhichOneof("result") for result in results]
    assert sorted(kinds) == ["error"] + ["output"] * 5
    assert [result.error.code for result in results if result.HasField("error")] == [14]
    assert second in decoders(server)


def test_a_picture_that_takes_too_much_memory_is_refused_and_the_rest_unharmed(server: Running) -> None:
    with Client(server.address, retry=RetryPolicy(max_attempts=1), timeout=60) as client:
        good, bomb, other = client.embed_batch([picture(), blank_png(8_000, 7_900), picture("JPEG")])
        assert isinstance(bomb, InvalidArgument)
        assert (bomb.reason, bomb.metadata) == ("IMAGE_TOO_COSTLY", {"resource": "memory", "limit": "96 MiB"})
        assert isinstance(good, Embedded)
        assert isinstance(other, Embedded)


def test_a_picture_that_hangs_is_refused_and_the_rest_unharmed() -> None:
    settings = Settings(
        bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu", decode_threads=2, decode_timeout_s=0.05
    )
    with Running(settings) as running, Client(running.address, retry=RetryPolicy(max_attempts=1)) as client:
        slow, *others = client.embed_batch([blank_png(8_000, 7_900), *[blank_png(8, 8)] * 4])
        assert isinstance(slow, InvalidArgument)
        assert (slow.reason, slow.metadata) == ("IMAGE_TOO_COSTLY", {"resource": "time", "limit": "0.05 s"})
        assert all(isinstance(other, Embedded) for other in others)


def decoders_of(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [one for one in children if any("decoder" in word for word in one.cmdline())]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_decoder_outlives_its_server(tmp_path: Path, number: signal.Signals) -> None:
    with Server(tmp_path, "--decode-threads", "3") as server:
        found = decoders_of(server)
        assert len(found) == 3
        server.process.send_signal(number)
        server.process.wait(timeout=60)
        _, alive = psutil.wait_procs(found, timeout=60)
        assert alive == []


def test_a_drain_finishes_the_pictures_it_accepted_though_all_processes_are_told_to_stop(tmp_path: Path) -> None:
    with Server(tmp_path, "--decode-threads", "2", "--grace-s", "60") as server:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(server.client.channel)
        inputs = [embedding_pb2.EmbedInput(image=picture("JPEG", (300 + n, 300))) for n in range(40)]
        future = stub.BatchEmbed.future(embedding_pb2.BatchEmbedRequest(inputs=inputs), timeout=60)
        stub.EmbedText(embedding_pb2.EmbedTextRequest(text="it has arrived"), timeout=60)
        for process in decoders_of(server):
            process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGTERM)
        assert [result.WhichOneof("result") for result in future.result().results] == ["output"] * 40
        assert server.process.wait(timeout=60) == 0
