"""A real gRPC server with deterministic answers: the services' contract, without encoders or an index."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from google.longrunning import operations_pb2_grpc
from google.protobuf import struct_pb2, wrappers_pb2
from google.rpc import status_pb2

from clipsearch.v1 import (
    catalogue_pb2_grpc,
    common_pb2,
    embedding_pb2,
    embedding_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)
from tests.unit.client.fake_answers import (
    DIMENSION,
    DRAINING,
    EMPTY_TEXT,
    NO_SUCH_ITEM,
    NOT_REACHED,
    abort,
    embedding,
    queue_full,
    status_of,
    vector_of,
)
from tests.unit.client.fake_catalogue import Catalogue, FakeCatalogue, Operations

__all__ = [
    "DIMENSION",
    "DRAINING",
    "ITEMS",
    "METADATA",
    "SEQUENCE_NUMBER",
    "Fake",
    "queue_full",
    "start",
    "status_of",
    "vector_of",
]

SEQUENCE_NUMBER = 40
ITEMS = ("hat", "shoe", "bag")
METADATA = {"title": "A hat", "price": 20, "weight": 0.25, "tags": ["red", "wool"], "sizes": {"s": True}, "note": None}


@dataclass
class Fake:
    """What the server was told to do and what it saw."""

    failures: list[status_pb2.Status] = field(default_factory=list)
    """One for each coming unary call, which fails with it."""
    requests: list[object] = field(default_factory=list)
    remaining_s: list[float] = field(default_factory=list)
    serving: list[bool] = field(default_factory=lambda: [True])
    """Answers of the health check; the last one stays."""
    stream_group: int = 1
    """StreamEmbed answers groups of so many items, each group backwards."""
    stream_fails_after: int | None = None
    stream_ends_after: int | None = None
    catalogue: FakeCatalogue = field(default_factory=FakeCatalogue)
    target: str = ""
    answering: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.answering.set()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Answer no unary call inside this context."""
        self.answering.clear()
        try:
            yield
        finally:
            self.answering.set()

    def seen(self, request: object, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.remaining_s.append(context.time_remaining())
        self.answering.wait()
        if self.failures:
            abort(context, self.failures.pop(0))


def output(item: embedding_pb2.EmbedInput, format_: int) -> embedding_pb2.EmbedOutput | status_pb2.Status:
    if item.WhichOneof("input") == "text" and not item.text.strip():
        return EMPTY_TEXT
    data = item.text.encode() if item.WhichOneof("input") == "text" else item.image
    return embedding_pb2.EmbedOutput(
        embedding=embedding(data, format_), truncated=len(data) > 100, timings=common_pb2.Timings(encode_us=7)
    )


class Embedding(embedding_pb2_grpc.EmbeddingServiceServicer):
    def __init__(self, fake: Fake) -> None:
        self.fake = fake

    def EmbedText(self, request, context):
        self.fake.seen(request, context)
        answer = output(embedding_pb2.EmbedInput(text=request.text), request.format)
        if isinstance(answer, status_pb2.Status):
            abort(context, answer)
        return embedding_pb2.EmbedTextResponse(
            embedding=answer.embedding, truncated=answer.truncated, timings=answer.timings
        )

    def EmbedImage(self, request, context):
        self.fake.seen(request, context)
        return embedding_pb2.EmbedImageResponse(embedding=embedding(request.image, request.format))

    def BatchEmbed(self, request, context):
        self.fake.seen(request, context)
        results = []
        for item in request.inputs:
            answer = output(item, request.format)
            key = "error" if isinstance(answer, status_pb2.Status) else "output"
            results.append(embedding_pb2.BatchEmbedResult(**{key: answer}))
        return embedding_pb2.BatchEmbedResponse(results=results)

    def StreamEmbed(self, request_iterator, context) -> Iterator[embedding_pb2.StreamEmbedResponse]:
        group = []
        for number, request in enumerate(request_iterator):
            if number == self.fake.stream_fails_after:
                abort(context, DRAINING)
            if number == self.fake.stream_ends_after:
                return
            self.fake.requests.append(request)
            group.append(request)
            if len(group) == self.fake.stream_group:
                yield from map(self.answer, reversed(group))
                group = []
        yield from map(self.answer, reversed(group))

    def answer(self, request) -> embedding_pb2.StreamEmbedResponse:
        result = output(request.input, request.format)
        key = "error" if isinstance(result, status_pb2.Status) else "output"
        return embedding_pb2.StreamEmbedResponse(item_id=request.item_id, **{key: result})

    def GetModel(self, request, context):
        self.fake.seen(request, context)
        model = embedding_pb2.Model(
            source="fake", weight_hash="abc", dimension=DIMENSION, context_length=77, image_size=32, precision="fp32"
        )
        return embedding_pb2.GetModelResponse(model=model)


class Search(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, fake: Fake) -> None:
        self.fake = fake

    def Search(self, request, context):
        self.fake.seen(request, context)
        answer = self.find(request)
        if isinstance(answer, status_pb2.Status):
            abort(context, answer)
        return answer

    def BatchSearch(self, request, context):
        self.fake.seen(request, context)
        results = []
        for answer in map(self.find, request.requests):
            key = "error" if isinstance(answer, status_pb2.Status) else "response"
            results.append(search_pb2.BatchSearchResult(**{key: answer}))
        return search_pb2.BatchSearchResponse(results=results)

    def find(self, request) -> search_pb2.SearchResponse | status_pb2.Status:
        if request.min_sequence_number > SEQUENCE_NUMBER:
            return NOT_REACHED
        if request.query.WhichOneof("kind") == "item_id" and request.query.item_id not in ITEMS:
            return NO_SUCH_ITEM
        hits = []
        for rank, name in enumerate(ITEMS[: request.top_k if request.HasField("top_k") else 10]):
            hit = search_pb2.Hit(id=name, score=1 - rank / 4)
            if request.view >= search_pb2.VIEW_METADATA:
                metadata = struct_pb2.Struct()
                metadata.update(METADATA)
                hit.metadata.CopyFrom(metadata)
            if request.view == search_pb2.VIEW_FULL:
                hit.embedding.CopyFrom(embedding(name.encode(), request.format))
            hits.append(hit)
        return search_pb2.SearchResponse(
            hits=hits,
            timings=common_pb2.Timings(search_us=5, total_us=9),
            sequence_number=SEQUENCE_NUMBER,
            next_page_token="second" if request.HasField("offset") else "",
        )


def health_handler(fake: Fake) -> grpc.GenericRpcHandler:
    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        serving = fake.serving.pop(0) if len(fake.serving) > 1 else fake.serving[0]
        return wrappers_pb2.Int32Value(value=1 if serving else 2).SerializeToString()

    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )


def start(fake: Fake) -> grpc.Server:
    """Serve ``fake`` on a free port, noted in ``fake.target``."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 64 << 20)])
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(Embedding(fake), server)
    search_pb2_grpc.add_SearchServiceServicer_to_server(Search(fake), server)
    catalogue_pb2_grpc.add_CatalogueServiceServicer_to_server(Catalogue(fake), server)
    operations_pb2_grpc.add_OperationsServicer_to_server(Operations(fake), server)
    server.add_generic_rpc_handlers((health_handler(fake),))
    fake.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    return server
