"""Spans of a real server, taken from memory: stages under their RPC, batches linked to the requests they served."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from clipsearch.client import Client, InvalidArgument, NewItem
from clipsearch.settings import Settings
from clipsearch.telemetry.tracing import Tracing
from clipsearch.v1 import search_pb2, search_pb2_grpc
from clipsearch.v1.embedding_pb2 import EmbedInput, EmbedTextRequest, StreamEmbedRequest
from clipsearch.v1.embedding_pb2_grpc import EmbeddingServiceStub
from tests.integration.support import SAMPLE_BUNDLE, Running

SEARCH = "/clipsearch.v1.SearchService/Search"


class Exporter(InMemorySpanExporter):
    """Keeps spans, and can be waited for: an error is on its way to the caller before its span has ended."""

    def __init__(self) -> None:
        super().__init__()
        self._came = threading.Condition()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._came:
            result = super().export(spans)
            self._came.notify_all()
        return result

    def wait_for(self, name: str, count: int) -> tuple[ReadableSpan, ...]:
        """All spans, once so many of this name are among them."""

        def there() -> bool:
            return sum(span.name == name for span in self.get_finished_spans()) >= count

        with self._came:
            assert self._came.wait_for(there, timeout=10)
            return self.get_finished_spans()


class Traced:
    """A server whose spans end up in ``exporter``."""

    def __init__(self, running: Running, exporter: Exporter) -> None:
        self.address, self._exporter = running.address, exporter

    def spans(self, method: str, calls: int = 1) -> list[ReadableSpan]:
        """All spans of the traces of so many calls of a method, the RPCs' own first; and forget everything."""
        finished = self._exporter.wait_for(method, calls)
        traces = {span.context.trace_id for span in finished if span.name == method and span.context}
        self._exporter.clear()
        return sorted(
            (span for span in finished if span.context and span.context.trace_id in traces),
            key=lambda span: span.name != method,
        )


@pytest.fixture(scope="module", params=[0, 1], ids=["in process", "with a front"])
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    exporter = Exporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = _settings(tmp_path_factory.mktemp("traced") / "data", request.param)
    with Running(settings, Tracing(provider)) as running:
        with Client(running.address) as client:
            client.catalogue.upsert([NewItem(f"item-{i}", text=f"thing {i}") for i in range(3)])
        yield Traced(running, exporter)


def _settings(data: Path, fronts: int = 0) -> Settings:
    return Settings(bundle=SAMPLE_BUNDLE, data=data, listen="127.0.0.1:0", device="cpu", fronts=fronts)


def _search(address: str, text: str, **call: object) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = search_pb2_grpc.SearchServiceStub(channel)
        stub.Search(search_pb2.SearchRequest(query=search_pb2.Query(text=text)), timeout=10, **call)


def _under(spans: list[ReadableSpan], parent: ReadableSpan) -> dict[str, ReadableSpan]:
    assert parent.context is not None
    return {span.name: span for span in spans if span.parent and span.parent.span_id == parent.context.span_id}


def test_the_stages_of_a_search_lie_under_its_call(traced: Traced) -> None:
    trace_id, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    _search(
        traced.address,
        "a red dress",
        metadata=(("traceparent", f"00-{trace_id}-{caller}-01"), ("x-request-id", "asked-by-test")),
    )
    rpc, *rest = traced.spans(SEARCH)
    assert rpc.kind is SpanKind.SERVER
    assert rpc.context is not None
    assert f"{rpc.context.trace_id:032x}" == trace_id, "the caller's trace goes on"
    assert rpc.parent is not None
    assert f"{rpc.parent.span_id:016x}" == caller
    assert rpc.attributes is not None
    assert rpc.attributes["clipsearch.request_id"] == "asked-by-test"
    stages = _under(rest, rpc)
    assert set(stages) == {"preprocess", "queue", "encode", "search", "text batch"}
    order = [stages[name] for name in ("preprocess", "queue", "encode", "search")]
    for before, after in itertools.pairwise(order):
        assert before.end_time is not None
        assert after.start_time is not None
        # The wall clock is read anew for each, and only to microseconds comparable.
        assert after.start_time >= before.end_time - 1_000_000
    assert rpc.start_time is not None
    assert rpc.end_time is not None
    assert all(rpc.start_time - 1_000_000 <= (span.start_time or 0) for span in order)
    assert all((span.end_time or 0) <= rpc.end_time + 1_000_000 for span in order)


def test_a_batch_is_linked_to_every_request_in_it(traced: Traced) -> None:
    with Client(traced.address) as client:
        assert len(list(client.embed_batch([f"text number {i}" for i in range(5)]))) == 5
    rpc, *rest = traced.spans("/clipsearch.v1.EmbeddingService/BatchEmbed")
    assert rpc.context is not None
    batches = [span for span in rest if span.name == "text batch"]
    encodes = [span for span in rest if span.name == "encode"]
    assert len(encodes) == 5
    assert all([link.context.span_id for link in batch.links] == [rpc.context.span_id] for batch in batches)
    known = {batch.context.span_id for batch in batches if batch.context}
    assert {link.context.span_id for span in encodes for link in span.links} <= known
    assert all(len(span.links) == 1 for span in encodes)
    sizes = [batch.attributes["clipsearch.batch.items"] for batch in batches if batch.attributes]
    assert sum(int(str(size)) for size in sizes) == 5


def test_requests_of_several_callers_share_a_batch_span(traced: Traced) -> None:
    with grpc.insecure_channel(traced.address) as channel:
        stub = EmbeddingServiceStub(channel)
        calls = [stub.EmbedText.future(EmbedTextRequest(text=f"thing {i}"), timeout=10) for i in range(40)]
        for call in calls:
            call.result()
    spans = traced.spans("/clipsearch.v1.EmbeddingService/EmbedText", 40)
    rpcs = {span.context.span_id for span in spans if span.kind is SpanKind.SERVER and span.context}
    batches = [span for span in spans if span.name == "text batch"]
    assert len(rpcs) == 40
    assert sum(len(batch.links) for batch in batches) == 40
    assert {link.context.span_id for batch in batches for link in batch.links} == rpcs
    assert len(batches) < 40, "some of them shared one"


def test_the_items_of_a_stream_are_traced(traced: Traced) -> None:
    with grpc.insecure_channel(traced.address) as channel:
        requests = [StreamEmbedRequest(item_id=f"{i}") for i in range(4)]
        for i, request in enumerate(requests):
            request.input.text = f"a thing {i}"
        requests[3].input.image = b"no picture"
        answers = list(EmbeddingServiceStub(channel).StreamEmbed(iter(requests), timeout=10))
    assert {answer.item_id: answer.WhichOneof("result") for answer in answers} == {
        "0": "output", "1": "output", "2": "output", "3": "error",
    }  # fmt: skip
    rpc, *rest = traced.spans("/clipsearch.v1.EmbeddingService/StreamEmbed")
    names = [span.name for span in rest]
    assert names.count("encode") == names.count("queue") == 3
    failed = [span for span in rest if span.status.status_code is StatusCode.ERROR]
    assert [span.name for span in failed] == ["preprocess"]
    assert failed[0].status.description == "IMAGE_UNSUPPORTED_FORMAT"
    assert rpc.status.status_code is not StatusCode.ERROR


def test_a_stream_that_runs_out_of_time_ends_its_span(traced: Traced) -> None:
    never = threading.Event()

    def requests() -> Iterator[StreamEmbedRequest]:
        yield StreamEmbedRequest(item_id="only", input=EmbedInput(text="a thing"))
        never.wait(10)

    with grpc.insecure_channel(traced.address) as channel:
        answers = EmbeddingServiceStub(channel).StreamEmbed(requests(), timeout=1.0)
        assert next(answers).item_id == "only", "answered while the stream goes on"
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        never.set()
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "encode" in [span.name for span in traced.spans("/clipsearch.v1.EmbeddingService/StreamEmbed")]


def test_an_error_is_in_the_span(traced: Traced) -> None:
    with Client(traced.address) as client, pytest.raises(InvalidArgument):
        client.search(text="  ")
    rpc, *_ = traced.spans(SEARCH)
    assert rpc.attributes is not None
    assert rpc.attributes["rpc.grpc.status_code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert rpc.attributes["clipsearch.reason"] == "TEXT_EMPTY"


def test_what_is_not_sampled_makes_no_batch_span(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with Running(_settings(tmp_path / "data"), Tracing(provider)) as running:
        _search(running.address, "a red dress")
    assert exporter.get_finished_spans() == ()
