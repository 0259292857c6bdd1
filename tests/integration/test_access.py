"""Keys, scopes and rates on a real server: which call is refused, with which code and reason."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from clipsearch.access.file import editing, revoke
from clipsearch.access.keys import new_key
from clipsearch.access.rates import Rate
from clipsearch.access.scopes import Scope
from clipsearch.cli.shell import shell
from clipsearch.client import (
    AsyncClient,
    Client,
    ClientError,
    NewItem,
    Overloaded,
    PermissionDenied,
    RetryPolicy,
    Unauthenticated,
    tls_credentials,
)
from clipsearch.rpc.scopes import SCOPES
from clipsearch.settings import Settings
from clipsearch.v1 import embedding_pb2, embedding_pb2_grpc
from tests.integration.certificates import Authority
from tests.integration.support import ROOT, SAMPLE_BUNDLE, Running

ONCE = RetryPolicy(max_attempts=1)


@dataclass
class Site:
    """A server with keys, and one key per name."""

    running: Running
    file: Path
    keys: dict[str, str]

    def client(self, name: str | None) -> Client:
        key = None if name is None else self.keys.get(name, name)
        return Client(self.running.address, api_key=key, retry=ONCE, timeout=20)


def add_key(file: Path, *scopes: Scope, rate: Rate | None = None) -> str:
    whole, key = new_key("test", scopes, rate, "now")
    with editing(file) as known:
        known.append(key)
    return whole


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("access")
    file = directory / "keys.json"
    keys = {scope.value: add_key(file, scope) for scope in Scope}
    # A burst that one test uses up, and a rate that gives nothing back while it runs.
    keys["seldom"] = add_key(file, Scope.READ, rate=Rate(0.001, 3.0))
    # The call itself and four messages.
    keys["streaming"] = add_key(file, Scope.READ, rate=Rate(0.001, 5.0))
    keys["slow stream"] = add_key(file, Scope.READ, rate=Rate(100.0, 1.0))
    settings = Settings(
        bundle=SAMPLE_BUNDLE,
        data=directory / "data",
        listen="127.0.0.1:0",
        device="cpu",
        decode_isolation="none",
        keys_file=file,
    )
    with Running(settings) as running:
        yield Site(running, file, keys)


def test_without_a_key_nothing_is_served_but_health(site: Site) -> None:
    with site.client(None) as client:
        with pytest.raises(Unauthenticated) as caught:
            client.embed_text("x")
        assert caught.value.reason == "KEY_MISSING"
        assert client.ready()


@pytest.mark.parametrize("key", ["nonsense", "cs_000000000000_" + "A" * 43])
def test_a_wrong_key_is_refused(site: Site, key: str) -> None:
    with site.client(key) as client, pytest.raises(Unauthenticated) as caught:
        client.embed_text("x")
    assert caught.value.reason == "KEY_INVALID"


@pytest.mark.parametrize("header", ["", "Basic QQ==", "bearer", "Bearer"])
def test_a_header_that_is_no_bearer_token_is_no_key(site: Site, header: str) -> None:
    with grpc.insecure_channel(site.running.address) as channel, pytest.raises(grpc.RpcError) as caught:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        stub.GetModel(embedding_pb2.GetModelRequest(), metadata=(("authorization", header),))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


CALLS: dict[str, Callable[[Client], object]] = {
    "read": lambda client: client.embed_text("a red dress"),
    "write": lambda client: client.catalogue.upsert([NewItem("one", text="a red dress")]),
    "admin": lambda client: client.catalogue.create_collection("another"),
}


@pytest.mark.parametrize("held", CALLS)
@pytest.mark.parametrize("needed", CALLS)
def test_a_key_is_for_its_scope_and_no_other(site: Site, held: str, needed: str) -> None:
    with site.client(held) as client:
        if held == needed:
            assert CALLS[needed](client) is not client
            return
        with pytest.raises(PermissionDenied) as caught:
            CALLS[needed](client)
    assert (caught.value.reason, caught.value.metadata["scope"]) == ("SCOPE_MISSING", needed)


def test_every_method_that_is_served_asks_for_its_scope(site: Site) -> None:
    """Called with a key that has all scopes but the one that is needed, whatever the message."""
    with grpc.insecure_channel(site.running.address) as channel:
        for method, scope in SCOPES.items():
            other = next(each for each in Scope if each is not scope)
            metadata = (("authorization", f"Bearer {site.keys[other.value]}"),)
            call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
            with pytest.raises(grpc.RpcError) as caught:
                list(call(iter([b""]), metadata=metadata, timeout=20))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED, method


def test_reflection_lists_only_methods_of_the_table_and_to_holders_of_keys(site: Site) -> None:
    class WithKey(grpc.StreamStreamClientInterceptor):  # type: ignore[type-arg]
        def intercept_stream_stream(self, continuation, details, requests):  # type: ignore[no-untyped-def]
            metadata = (("authorization", f"Bearer {site.keys['read']}"),)
            return continuation(details._replace(metadata=metadata), requests)

    with grpc.insecure_channel(site.running.address) as channel:
        with pytest.raises(grpc.RpcError):
            ProtoReflectionDescriptorDatabase(channel).get_services()
        database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, WithKey()))
        known = {method.split("/")[1] for method in SCOPES}
        assert set(database.get_services()) == known | {"grpc.health.v1.Health"}


def test_a_key_over_its_rate_is_told_when_to_come_back(site: Site) -> None:
    with site.client("seldom") as client:
        for _ in range(3):
            client.model()
        with pytest.raises(Overloaded) as caught:
            client.model()
    assert caught.value.reason == "RATE_LIMITED"
    assert caught.value.retry_after_s is not None
    assert 900 < caught.value.retry_after_s <= 1000
    with site.client("read") as client:
        client.model()


def test_each_message_of_a_stream_counts_as_a_call(site: Site) -> None:
    with site.client("streaming") as client:
        results = dict(client.stream_embed((n, f"text {n}") for n in range(4)))
        assert not [result for result in results.values() if isinstance(result, ClientError)]
        with pytest.raises(Overloaded) as caught:
            client.model()
    assert caught.value.reason == "RATE_LIMITED"


def test_a_stream_over_its_keys_rate_waits_rather_than_fails(site: Site) -> None:
    with site.client("slow stream") as client:
        results = dict(client.stream_embed((n, f"text {n}") for n in range(20)))
    assert len(results) == 20
    assert not [result for result in results.values() if isinstance(result, ClientError)]


async def test_the_asyncio_client_sends_its_key_with_calls_and_streams(site: Site) -> None:
    async with AsyncClient(site.running.address, api_key=site.keys["read"], retry=ONCE) as client:
        assert (await client.embed_text("x")).vector.shape
        results = [result async for _, result in client.stream_embed([("a", "x"), ("b", "y")])]
    assert not [result for result in results if isinstance(result, ClientError)]


async def test_a_stream_without_a_key_is_told_so_though_it_has_not_sent_a_thing(site: Site) -> None:
    async def nothing_yet() -> AsyncIterator[tuple[str, str]]:
        # A message under way when the refusal comes would lose its status: grpc/grpc#36066.
        await asyncio.Event().wait()
        yield "a", "x"

    async with AsyncClient(site.running.address, retry=ONCE) as client:
        with pytest.raises(Unauthenticated):
            [result async for _, result in client.stream_embed(nothing_yet())]


def test_a_revoked_key_is_refused_from_the_reload_on_and_a_new_one_taken(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    doomed, fresh = add_key(site.file, Scope.READ), ""
    site.running.app.admittance.reload()
    with site.client(doomed) as client:
        client.model()
        with editing(site.file) as known:
            revoke(known, doomed.split("_")[1], "later")
        fresh = add_key(site.file, Scope.READ)
        client.model()
        site.running.app.admittance.reload()
        with pytest.raises(Unauthenticated) as caught:
            client.model()
    assert caught.value.reason == "KEY_REVOKED"
    with site.client(fresh) as client:
        client.model()
        good = site.file.read_text()
        site.file.write_text("{")
        site.running.app.admittance.reload()
        site.file.write_text(good)
        assert "the keys stay as they were" in caplog.text
        client.model()


def test_metadata_over_the_limit_is_refused_and_the_connection_lives_on(site: Site) -> None:
    with grpc.insecure_channel(site.running.address) as channel:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        metadata = (("authorization", f"Bearer {site.keys['read']}"),)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetModel(embedding_pb2.GetModelRequest(), metadata=(*metadata, ("x-much", "x" * 20_000)), timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        stub.GetModel(embedding_pb2.GetModelRequest(), metadata=metadata, timeout=20)


def test_what_is_closed_by_settings_cannot_be_called(tmp_path: Path) -> None:
    settings = Settings(
        bundle=SAMPLE_BUNDLE,
        data=tmp_path / "data",
        listen=f"unix:{tmp_path}/socket",
        device="cpu",
        decode_isolation="none",
        admin_rpcs=False,
        reflection=False,
    )
    with Running(settings), grpc.insecure_channel(settings.listen) as channel:
        with Client(settings.listen, retry=ONCE) as client:
            assert client.embed_text("x").vector.shape
            client.catalogue.upsert([NewItem("one", text="a red dress")])
            with pytest.raises(PermissionDenied) as caught:
                client.catalogue.delete_collection("default")
            assert caught.value.reason == "ADMIN_CLOSED"
        with pytest.raises(grpc.RpcError) as closed:
            operations_pb2_grpc.OperationsStub(channel).ListOperations(operations_pb2.ListOperationsRequest())
        assert closed.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.RpcError) as unknown:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_the_command_line_reaches_a_guarded_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Authority("ours")
    cert, key = ours.sign("server").files(tmp_path, "server")
    ca = ours.file(tmp_path, "ca")
    file = tmp_path / "keys.json"
    whole = add_key(file, Scope.READ, Scope.ADMIN)
    settings = Settings(
        bundle=SAMPLE_BUNDLE,
        data=tmp_path / "data",
        snapshots=tmp_path / "snapshots",
        listen="127.0.0.1:0",
        device="cpu",
        decode_isolation="none",
        tls_cert=cert,
        tls_key=key,
        keys_file=file,
    )
    texts = tmp_path / "texts.txt"
    texts.write_text("a red dress\ngreen boots\n")
    with Running(settings) as running:
        with Client(running.address, credentials=tls_credentials(ca), api_key=whole) as client:
            client.wait_until_ready(20)
        server = ["--server", running.address]
        reach = [*server, "--tls-ca", str(ca), "--api-key", whole]
        for verb in (["search", "a red dress"], ["snapshot", "--to", "monday"]):
            done = CliRunner().invoke(shell, [*verb, *reach])
            assert done.exit_code == 0, done.output
        monkeypatch.setenv("CLIPSEARCH_API_KEY", whole)
        monkeypatch.setenv("CLIPSEARCH_CLIENT_TLS_CA", str(ca))
        done = CliRunner().invoke(shell, ["embed", str(texts), "--out", str(tmp_path / "out.npy"), *server])
        assert done.exit_code == 0, done.output
        monkeypatch.setenv("CLIPSEARCH_API_KEY", "wrong")
        done = CliRunner().invoke(shell, ["search", "x", *server])
        assert (done.exit_code, "KEY_INVALID" in done.output) == (1, True)


def test_a_server_open_to_the_network_does_not_start() -> None:
    command = [sys.executable, "-m", "clipsearch", "serve", "--bundle", str(SAMPLE_BUNDLE), "--listen", "0.0.0.0:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "anybody could read and change everything: set keys_file or tls_client_ca, or allow_insecure" in done.stderr
    assert "Traceback" not in done.stderr
