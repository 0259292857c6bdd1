"""Health, reflection, failed warm-up, shutdown: what an operator and a load balancer see."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from clipsearch.app import App
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.client import Client, RetryPolicy
from clipsearch.encoders.manifest import load_bundle
from clipsearch.errors import ComputeFailed, UnusableBundle, UnusableIndex
from clipsearch.settings import Settings
from clipsearch.v1 import embedding_pb2 as pb
from clipsearch.v1 import search_pb2
from clipsearch.v1.embedding_pb2_grpc import EmbeddingServiceStub
from clipsearch.v1.search_pb2_grpc import SearchServiceStub
from tests.integration.support import SAMPLE_BUNDLE, Running

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
EMBEDDING, SEARCH = "clipsearch.v1.EmbeddingService", "clipsearch.v1.SearchService"


def health(channel: grpc.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status)


def test_a_warm_server_reports_serving(channel: grpc.Channel) -> None:
    assert [health(channel, service) for service in ("", EMBEDDING, SEARCH)] == [SERVING] * 3


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {EMBEDDING, SEARCH, "grpc.health.v1.Health"} <= set(database.get_services())


def test_without_an_index_it_embeds_and_says_that_it_cannot_search() -> None:
    settings = Settings(bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu")
    with Running(settings) as server, grpc.insecure_channel(server.address) as channel:
        assert [health(channel, service) for service in ("", EMBEDDING, SEARCH)] == [SERVING, SERVING, NOT_SERVING]
        assert EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(text="x")).embedding.float32.values
        with pytest.raises(grpc.RpcError) as caught:
            SearchServiceStub(channel).Search(search_pb2.SearchRequest(query=search_pb2.Query(text="x")))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_failed_warm_up_keeps_it_not_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ComputeFailed("the text tower returned a vector that is not finite")

    app = App(Settings(bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu"))
    monkeypatch.setattr(type(app.encoders), "warm_up", lambda self: fail())
    with pytest.raises(ComputeFailed):
        await app.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        assert (await check(health_pb2.HealthCheckRequest(service=""))).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(text="x"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "NOT_READY" in str(rpc_status.from_call(caught.value))
    await app.stop()


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    for file in SAMPLE_BUNDLE.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    victim = max(tmp_path.glob("*.weights"), key=lambda file: file.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(UnusableBundle, match=victim.name):
        App(Settings(bundle=tmp_path, listen="127.0.0.1:0", device="cpu"))


def test_a_catalogue_of_another_model_is_refused(tmp_path: Path) -> None:
    vectors = load_bundle(SAMPLE_BUNDLE).manifest.dimension
    with CatalogueWriter(tmp_path / "default", vectors, "0" * 64):
        pass
    with pytest.raises(UnusableIndex, match="another model"):
        App(Settings(bundle=SAMPLE_BUNDLE, data=tmp_path, listen="127.0.0.1:0", device="cpu"))


@contextmanager
def served(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process of its own, once it says that it serves; yields it and its address."""
    command = [sys.executable, "-m", "clipsearch", "serve", "--listen", "127.0.0.1:0", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stderr is not None
        port = None
        for line in process.stderr:
            if match := re.search(r"port (\d+)$", line):
                port = match[1]
            if line.rstrip().endswith("serving"):
                break
        try:
            yield process, f"127.0.0.1:{port}"
        finally:
            process.kill()


def test_sigterm_finishes_what_was_accepted_and_exits_with_0() -> None:
    with served("--bundle", str(SAMPLE_BUNDLE), "--device", "cpu") as (process, address):
        with grpc.insecure_channel(address) as channel:
            stub = EmbeddingServiceStub(channel)
            inputs = [pb.EmbedInput(text=f"number {n}") for n in range(200)]
            futures = [stub.BatchEmbed.future(pb.BatchEmbedRequest(inputs=inputs)) for _ in range(3)]
            assert stub.EmbedText(pb.EmbedTextRequest(text="they have arrived")).embedding.float32.values
            process.send_signal(signal.SIGTERM)
            for future in futures:
                results = future.result(timeout=20).results
                assert [result.WhichOneof("result") for result in results] == ["output"] * 200
        assert process.wait(timeout=20) == 0


def test_callers_do_not_notice_that_a_server_restarts() -> None:
    # Patient, since a start takes a busy machine longer than the default policy waits.
    policy = RetryPolicy(max_attempts=5, initial_backoff_s=1.0, max_backoff_s=10.0)
    over = threading.Event()

    def call(address: str) -> int:
        answered = 0
        with Client(address, retry=policy, timeout=60) as client:
            while not over.is_set():
                answered += len(client.embed_text("a red mug").vector) > 0
        return answered

    with ThreadPoolExecutor(8) as callers:
        # Without a cache of queries: who was served is told by what was computed.
        settings = Settings(bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu", query_cache_mib=0)
        with Running(settings) as server:
            settings = settings.model_copy(update={"listen": server.address})
            calling = [callers.submit(call, server.address) for _ in range(8)]
        for _ in range(3):
            with Running(settings) as server:
                assert served_again(server)
        with Running(settings):
            over.set()
            assert all(one.result(timeout=60) > 0 for one in calling)


def served_again(server: Running, least: int = 20) -> bool:
    """Wait until the callers of another server have come to this one."""
    until = time.monotonic() + 60
    while server.app.lanes.text.counts.items < least:
        assert time.monotonic() < until, "nobody came"
        time.sleep(0.01)
    return True


def test_serving_imports_no_training_stack() -> None:
    program = (
        "import asyncio, sys\n"
        "from clipsearch.app import App\n"
        "from clipsearch.settings import Settings\n"
        "async def main():\n"
        f"    app = App(Settings(bundle={str(SAMPLE_BUNDLE)!r}, listen='127.0.0.1:0', device='cpu'))\n"
        "    await app.start()\n"
        "    await app.stop()\n"
        "asyncio.run(main())\n"
        "print(sorted({'torch', 'transformers', 'optimum', 'onnx'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--bundle", "/nowhere"], "/nowhere"),
        ([], "bundle is required"),
        (["--bundle", str(SAMPLE_BUNDLE), "--listen", "nonsense"], "listen (flag): must be host:port"),
        (["--bundle", str(SAMPLE_BUNDLE), "--data", "/dev/null/data"], "/dev/null/data"),
    ],
)
def test_a_start_that_cannot_work_says_why_in_one_sentence(flags: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "clipsearch", "serve", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_taken_port_is_refused_rather_than_shared(server: Running) -> None:
    app = App(Settings(bundle=SAMPLE_BUNDLE, listen=server.address, device="cpu"))
    with pytest.raises(Exception, match="cannot listen"):
        await app.start()
    await asyncio.gather(*(lane.stop() for lane in app.lanes.all))


def test_serve_on_a_taken_port_ends_with_a_sentence(server: Running) -> None:
    command = [sys.executable, "-m", "clipsearch", "serve", "--bundle", str(SAMPLE_BUNDLE), "--listen", server.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cannot listen" in done.stderr
    assert "Traceback" not in done.stderr
