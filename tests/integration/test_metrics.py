"""The metrics of a real server, as Prometheus and ``clipsearch top`` get them."""

import asyncio
import errno
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from clipsearch.access.file import editing
from clipsearch.access.keys import new_key
from clipsearch.access.scopes import Scope
from clipsearch.app import App
from clipsearch.cli.scrape import Scrape, scrape
from clipsearch.cli.shell import shell
from clipsearch.client import Client, InvalidArgument, NewItem, RetryPolicy, Unauthenticated
from clipsearch.errors import ConfigError
from clipsearch.settings import Settings
from clipsearch.telemetry import metrics
from clipsearch.telemetry.requests import HEADER
from tests.integration.ingesting import jpeg
from tests.integration.support import SAMPLE_BUNDLE, Running
from tests.unit.promql import OTHERS, VALUES
from tests.waiting import eventually

JOBS = {"rebuild", "snapshot", "import", "export", "model"}


def _settings(data: Path, **more: object) -> Settings:
    return Settings(
        bundle=SAMPLE_BUNDLE,
        data=data,
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        device="cpu",
        recall_sample=1.0,
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture(name="watched", scope="module")
def _watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a small collection and an index of it, after a few calls of every kind."""
    with Running(_settings(tmp_path_factory.mktemp("watched") / "data")) as running, Client(running.address) as client:
        client.catalogue.upsert([NewItem(f"item-{i}", text=f"thing {i}") for i in range(40)])
        client.catalogue.rebuild_index().wait(timeout=60)
        client.catalogue.upsert([NewItem("late", text="a late thing"), NewItem("item-0", text="thing, anew")])
        client.search(text="a thing")
        client.search(vector=np.eye(1, running.app.encoders.manifest.dimension, dtype=np.float32)[0])
        with pytest.raises(InvalidArgument):
            client.embed_text("")
        with pytest.raises(InvalidArgument):
            client.embed_image(b"no picture")
        yield running


def _look(running: Running) -> Scrape:
    return scrape(_endpoint(running))


def _endpoint(running: Running) -> str:
    return f"127.0.0.1:{running.app.metrics_port}"


def _families(running: Running) -> dict[str, Sequence[dict[str, str]]]:
    """The labels of every series, by its family's name as it was declared."""
    with urllib.request.urlopen(f"http://{_endpoint(running)}/metrics", timeout=10) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        text = response.read().decode()
    return {
        family.name + ("_total" if family.type == "counter" else ""): [sample.labels for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


def test_what_is_declared_is_exported_with_its_labels_and_nothing_else(watched: Running) -> None:
    families = _families(watched)
    assert {name for name in families if name.startswith("clipsearch_")} == {one.name for one in metrics.ALL}
    for one in metrics.ALL:
        expected = set(one.labels)
        assert {frozenset(labels.keys() - {"le"}) for labels in families[one.name]} <= {frozenset(expected)}, one.name
    without = {name for name, series in families.items() if not series}
    assert without == {"clipsearch_device_memory_bytes", "clipsearch_index_recall"}, "no GPU, and a flat index is exact"


def test_what_alerts_ask_of_the_client_library_is_exported(watched: Running) -> None:
    assert set(OTHERS) - {"up"} <= set(_families(watched))


def test_labels_have_the_values_that_alerts_may_ask_for(watched: Running) -> None:
    series = [(name, labels) for name, several in _families(watched).items() for labels in several]
    for label, values in VALUES.items():
        found = {labels[label] for _, labels in series if label in labels}
        assert found <= values | (JOBS if label == "kind" else set()), label
        assert found or label == "state", "of a GPU alone"


def test_calls_are_counted_by_method_and_code(watched: Running) -> None:
    seen = _look(watched)
    assert seen.total("clipsearch_requests_total", method="Search", code="OK") == 2
    assert seen.total("clipsearch_requests_total", method="EmbedText", code="INVALID_ARGUMENT") == 1
    assert seen.total("clipsearch_request_seconds_count", method="UpsertItems") == 2
    assert 0 < seen.total("clipsearch_request_seconds_sum", method="Search") < 60


def test_a_message_that_cannot_be_read_is_a_call_that_failed(watched: Running) -> None:
    before = _look(watched).total("clipsearch_requests_total", method="GetItem", code="INVALID_ARGUMENT")
    with grpc.insecure_channel(watched.address) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/clipsearch.v1.CatalogueService/GetItem")(b"\xff\xff\xff", timeout=10)
    assert isinstance(raised.value, grpc.Call)
    assert "x-request-id" in dict(raised.value.trailing_metadata() or ())
    assert _look(watched).total("clipsearch_requests_total", method="GetItem", code="INVALID_ARGUMENT") == before + 1


def test_calls_that_the_gate_refuses_are_counted_and_named(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    with editing(keys) as known:
        known.append(new_key("test", (Scope.READ,), None, "now")[1])
    with Running(_settings(tmp_path / "data", keys_file=keys)) as running:
        with Client(running.address, retry=RetryPolicy(max_attempts=1)) as client, pytest.raises(Unauthenticated):
            client.embed_text("x")
        with grpc.insecure_channel(running.address) as channel:
            for name in ("/made.Up/One", "/made.Up/Another"):
                with pytest.raises(grpc.RpcError) as caught:
                    channel.unary_unary(name)(b"", timeout=20)
        seen = _look(running)
    assert seen.total("clipsearch_requests_total", method="EmbedText", code="UNAUTHENTICATED") == 1
    assert seen.total("clipsearch_requests_total", method="unknown", code="UNAUTHENTICATED") == 2
    assert seen.total("clipsearch_requests_total") == 3, "names that strangers make up get no series of their own"
    assert dict(caught.value.trailing_metadata())[HEADER]  # type: ignore[attr-defined]


def test_processor_time_is_told_by_part_and_is_that_of_the_work_done(tmp_path: Path) -> None:
    parts = "clipsearch_cpu_seconds_total"
    with Running(_settings(tmp_path / "data", query_cache_mib=0)) as running, Client(running.address) as client:
        before = _look(running)
        for n in range(100):
            client.embed_text(f"thing {n}")
        eventually(lambda: _look(running).total(parts, part="event_loop") > before.total(parts, part="event_loop"))
        texts = _look(running)
        assert texts.total(parts, part="text_lane") > before.total(parts, part="text_lane")
        for part in ("image_lane", "search_lane", "write_lane"):
            assert texts.total(parts, part=part) == before.total(parts, part=part), part
        picture = jpeg(0, side=2000)
        for _ in range(40):
            client.embed_image(picture)
        now = _look(running)
        assert now.total(parts, part="decoders") > texts.total(parts, part="decoders")
        assert now.total(parts, part="image_lane") > texts.total(parts, part="image_lane")
    own = now.total(parts) - now.total(parts, part="decoders")
    assert own <= now.total("process_cpu_seconds_total"), "this process's, which has the tests' threads as well"


def test_lanes_and_stages_add_up(watched: Running) -> None:
    seen = _look(watched)
    texts = seen.total("clipsearch_batch_items_sum", lane="text")
    assert texts == 43, "42 items and a query"
    assert seen.total("clipsearch_stage_seconds_count", lane="text", stage="preprocess") == texts
    assert seen.total("clipsearch_stage_seconds_count", lane="text", stage="encode") == texts
    assert seen.total("clipsearch_stage_seconds_count", lane="text", stage="queue") == texts
    assert seen.total("clipsearch_stage_seconds_count", lane="text", stage="search") == 1
    assert seen.total("clipsearch_stage_seconds_count", lane="search", stage="search") == 1
    assert seen.total("clipsearch_queue_wait_seconds_count", lane="text") == texts
    assert seen.total("clipsearch_queue_wait_seconds_count", lane="text", priority="interactive") == 1
    assert seen.total("clipsearch_text_tokens_total", kind="real") > 3 * texts
    assert seen.total("clipsearch_encoder_runs_total", tower="text") >= seen.total(
        "clipsearch_batch_items_count", lane="text"
    )
    assert seen.total("clipsearch_lane_items") == seen.total("clipsearch_queue_items") == 0


def test_what_cannot_be_decoded_is_counted_by_its_reason(watched: Running) -> None:
    seen = _look(watched)
    assert seen.total("clipsearch_preprocess_failures_total", lane="image") == 1
    assert seen.labels("clipsearch_preprocess_failures_total", "reason") == ["IMAGE_UNSUPPORTED_FORMAT"]


def test_a_collection_tells_its_state(watched: Running) -> None:
    seen = _look(watched)
    expected = {"collection_items": 41, "collection_tombstones": 1, "collection_delta_items": 2, "index_items": 40}
    found = {name: seen.total(f"clipsearch_{name}", collection="default") for name in expected}
    assert found == expected
    assert seen.total("clipsearch_collection_sequence_number") == watched.app.data.collection("default").stats().seq  # type: ignore[union-attr]
    assert seen.total("clipsearch_collection_disk_bytes") > 10_000
    assert seen.total("clipsearch_index_built_timestamp_seconds") > 1.6e9
    assert seen.total("clipsearch_serving") == 1


def test_top_prints_one_frame_of_80_columns(watched: Running) -> None:
    arguments = ["top", "--once", "--every", "0.1", "--metrics", _endpoint(watched)]
    result = CliRunner(env={"COLUMNS": "80"}).invoke(shell, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "SERVING" in lines[0]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert {"UpsertItems", "Search", "EmbedText", "text", "image", "search", "write"} <= rows.keys()
    assert rows["default"][:5] == ["41", "40", "2", "1", str(int(_look(watched).total(SEQUENCE)))]


SEQUENCE = "clipsearch_collection_sequence_number"


def test_the_live_view_goes_on_until_it_is_interrupted_and_leaves_its_last_frame(watched: Running) -> None:
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (40, 80))
    command = [sys.executable, "-m", "clipsearch", "top", "--every", "0.1", "--metrics", _endpoint(watched)]
    # Whoever starts the tests in the background may have had interrupts ignored, which programs inherit.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its)
    signal.signal(signal.SIGINT, before)
    os.close(its)
    try:
        seen = _read_until(ours, lambda text: text.count("SERVING") >= 3)
        assert "\x1b[?1049h" in seen, "on the terminal's other screen"
        process.send_signal(signal.SIGINT)
        last = _read_to_the_end(ours).rpartition("\x1b[?1049l")[2]
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert "SERVING" in last
    assert "default " in last
    assert "Traceback" not in last


def _read_until(terminal: int, enough: Callable[[str], bool]) -> str:
    """What was written to a terminal, from now until it is enough; fails after half a minute without anything."""
    text = ""
    while not enough(text):
        assert select.select([terminal], [], [], 30.0)[0], text
        text += os.read(terminal, 65536).decode(errors="replace")
    return text


def _read_to_the_end(terminal: int) -> str:
    """What is written to a terminal until nobody has it open any more; a writer waits for whoever does not read it all.

    Fails after half a minute.
    """
    parts = []
    until = time.monotonic() + 30.0
    while True:
        left_s = until - time.monotonic()
        assert left_s > 0 and select.select([terminal], [], [], left_s)[0], "it goes on"
        try:
            part = os.read(terminal, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # how Linux says that it has been closed
                raise
            part = b""
        if not part:
            return b"".join(parts).decode(errors="replace")
        parts.append(part)


def test_top_of_nothing_says_so(unused_port: int) -> None:
    result = CliRunner().invoke(shell, ["top", "--once", "--metrics", f"127.0.0.1:{unused_port}"])
    assert result.exit_code == 1
    assert "--metrics-listen" in result.output
    assert "Traceback" not in result.output


@pytest.fixture(name="unused_port")
def _unused_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


async def test_a_taken_port_ends_the_start(watched: Running, tmp_path: Path) -> None:
    settings = _settings(tmp_path / "data").model_copy(update={"metrics_listen": _endpoint(watched)})
    app = App(settings)
    with pytest.raises(ConfigError, match="cannot serve metrics"):
        await app.listen()
    await asyncio.gather(*(lane.stop() for lane in app.lanes.all))
    assert app.data is not None
    await asyncio.to_thread(app.data.close)


def test_without_the_setting_nothing_is_counted(server: Running) -> None:
    assert server.app.metrics_port == 0
    assert server.app.telemetry.requests == []
    assert server.app.telemetry.preprocess == []
    assert all(not lane._observers for lane in server.app.lanes.all)


def test_a_query_that_repeats_is_found_in_the_cache_and_answers_the_same(tmp_path: Path) -> None:
    def counted() -> tuple[float, float, float]:
        seen = _look(running)
        hits, misses = (seen.total("clipsearch_query_cache_total", result=result) for result in ("hit", "miss"))
        return hits, misses, seen.total("clipsearch_batch_items_sum", lane="text")

    with Running(_settings(tmp_path / "data")) as running, Client(running.address) as client:
        client.catalogue.upsert([NewItem(f"item-{i}", text=f"thing {i}") for i in range(9)])
        hits, misses, encoded = counted()
        assert (hits, misses) == (0, 0), "what is stored is no query"
        first = client.search(text="what nobody asked for yet", top_k=5)
        again = client.search(text="what nobody asked for yet", top_k=5)
        alone = client.embed_text("what nobody asked for yet")
        assert counted() == (hits + 2, misses + 1, encoded + 1)
        assert [(hit.id, hit.score) for hit in again.hits] == [(hit.id, hit.score) for hit in first.hits]
        assert first.timings.encode_us > 0
        assert again.timings.encode_us == alone.timings.encode_us == 0
        assert again.timings.search_us > 0
        np.testing.assert_array_equal(alone.vector, client.embed_text("what nobody asked for yet").vector)
