"""What bad input gets: a code, a reason, the field at fault; and the server goes on serving."""

import io
import struct
import zlib
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from clipsearch.errors import DOMAIN
from clipsearch.v1 import common_pb2 as common
from clipsearch.v1 import embedding_pb2 as epb
from clipsearch.v1 import search_pb2 as spb
from clipsearch.v1.embedding_pb2_grpc import EmbeddingServiceStub
from clipsearch.v1.search_pb2_grpc import SearchServiceStub
from tests.integration.support import Running

INVALID, MISSING, EXHAUSTED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


def png(size: tuple[int, int] = (64, 64)) -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 60).save(out, "PNG")
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header announces width x height pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_cut_short() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((200, 200), 60).convert("RGB").save(out, "JPEG")
    return out.getvalue()[:1500]


IMAGES = {
    "empty": (b"", "IMAGE_EMPTY"),
    "not a picture": (b"GIF? no, plain text", "IMAGE_UNSUPPORTED_FORMAT"),
    "unsupported format": (b"%PDF-1.7\n%%EOF", "IMAGE_UNSUPPORTED_FORMAT"),
    "truncated JPEG": (jpeg_cut_short(), "IMAGE_CORRUPT"),
    "truncated PNG": (png()[:200], "IMAGE_CORRUPT"),
    "too many bytes": (png((1200, 1200)), "IMAGE_TOO_LARGE"),
    "decompression bomb": (bomb(60_000, 60_000), "IMAGE_TOO_MANY_PIXELS"),
}


def vector(values: list[float]) -> spb.Query:
    return spb.Query(vector=common.Embedding(float32=common.FloatVector(values=values)))


@pytest.fixture(name="dimension")
def _dimension(server: Running) -> int:
    return server.app.encoders.manifest.dimension


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo, list[str]]:
    """Make a call that must fail; returns its code, ErrorInfo and the fields of its BadRequest."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)
    assert status is not None, "every refusal carries a google.rpc.Status"
    return (caught.value.code(), *details_of(status.details))


def details_of(details: object) -> tuple[error_details_pb2.ErrorInfo, list[str]]:
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    fields: list[str] = []
    for detail in details:  # type: ignore[attr-defined]
        if detail.Is(request.DESCRIPTOR):
            detail.Unpack(request)
            fields += [violation.field for violation in request.field_violations]
        elif detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
    assert info.domain == DOMAIN
    return info, fields


@pytest.fixture(autouse=True)
def _still_serving(channel: grpc.Channel) -> object:
    yield
    assert EmbeddingServiceStub(channel).EmbedText(epb.EmbedTextRequest(text="still here")).embedding.float32.values


@pytest.mark.parametrize(
    ("text", "reason"), [("", "TEXT_EMPTY"), (" \n\t", "TEXT_EMPTY"), ("é" * 3000, "TEXT_TOO_LARGE")]
)
def test_bad_text(channel: grpc.Channel, text: str, reason: str) -> None:
    embed, search = EmbeddingServiceStub(channel), SearchServiceStub(channel)
    code, info, fields = refused(lambda: embed.EmbedText(epb.EmbedTextRequest(text=text)))
    assert (code, info.reason, fields) == (INVALID, reason, ["text"])
    code, info, fields = refused(lambda: search.Search(spb.SearchRequest(query=spb.Query(text=text))))
    assert (code, info.reason, fields) == (INVALID, reason, ["query.text"])


@pytest.mark.parametrize("kind", IMAGES)
def test_bad_image(channel: grpc.Channel, kind: str) -> None:
    data, reason = IMAGES[kind]
    embed, search = EmbeddingServiceStub(channel), SearchServiceStub(channel)
    code, info, fields = refused(lambda: embed.EmbedImage(epb.EmbedImageRequest(image=data)))
    assert (code, info.reason, fields) == (INVALID, reason, ["image"])
    code, info, fields = refused(lambda: search.Search(spb.SearchRequest(query=spb.Query(image=data))))
    assert (code, info.reason, fields) == (INVALID, reason, ["query.image"])


def test_each_bad_image_of_a_batch_gets_its_own_error(channel: grpc.Channel) -> None:
    inputs = [epb.EmbedInput(image=data) for data, _ in IMAGES.values()]
    inputs.insert(3, epb.EmbedInput(image=png()))
    results = EmbeddingServiceStub(channel).BatchEmbed(epb.BatchEmbedRequest(inputs=inputs)).results
    assert results[3].WhichOneof("result") == "output"
    reasons = [details_of(result.error.details)[0].reason for i, result in enumerate(results) if i != 3]
    assert reasons == [reason for _, reason in IMAGES.values()]
    assert details_of(results[0].error.details)[1] == ["inputs[0].image"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d: [1.0] * (d - 1), "VECTOR_WRONG_DIMENSION"),
        (lambda d: [1.0] * (d + 1), "VECTOR_WRONG_DIMENSION"),
        (lambda d: [], "VECTOR_WRONG_DIMENSION"),
        (lambda d: [float("nan")] * d, "VECTOR_NOT_USABLE"),
        (lambda d: [float("inf")] + [0.0] * (d - 1), "VECTOR_NOT_USABLE"),
        (lambda d: [0.0] * d, "VECTOR_NOT_USABLE"),
    ],
)
def test_bad_vector(channel: grpc.Channel, dimension: int, make: Callable[[int], list[float]], reason: str) -> None:
    query = vector(make(dimension))
    code, info, fields = refused(lambda: SearchServiceStub(channel).Search(spb.SearchRequest(query=query)))
    assert (code, info.reason, fields) == (INVALID, reason, ["query.vector"])


def test_a_huge_but_finite_vector_is_a_direction_like_any_other(channel: grpc.Channel, dimension: int) -> None:
    values = np.full(dimension, 3e38)
    assert SearchServiceStub(channel).Search(spb.SearchRequest(query=vector(values.tolist()))).hits


def test_an_odd_number_of_half_precision_bytes(channel: grpc.Channel) -> None:
    query = spb.Query(vector=common.Embedding(float16=b"abc"))
    code, info, _ = refused(lambda: SearchServiceStub(channel).Search(spb.SearchRequest(query=query)))
    assert (code, info.reason) == (INVALID, "VECTOR_NOT_USABLE")


@pytest.mark.parametrize("query", [spb.Query(), spb.Query(vector=common.Embedding())])
def test_a_query_of_nothing(channel: grpc.Channel, query: spb.Query) -> None:
    code, info, fields = refused(lambda: SearchServiceStub(channel).Search(spb.SearchRequest(query=query)))
    assert (code, info.reason) == (INVALID, "INPUT_MISSING")
    assert fields[0].startswith("query")


def test_an_unknown_item(channel: grpc.Channel) -> None:
    code, info, _ = refused(
        lambda: SearchServiceStub(channel).Search(spb.SearchRequest(query=spb.Query(item_id="nobody")))
    )
    assert (code, info.reason, info.metadata["item_id"]) == (MISSING, "ITEM_NOT_FOUND", "nobody")


@pytest.mark.parametrize("top_k", [0, -1, 51])
def test_top_k_out_of_range(channel: grpc.Channel, top_k: int) -> None:
    request = spb.SearchRequest(query=spb.Query(text="hat"), top_k=top_k)
    code, info, fields = refused(lambda: SearchServiceStub(channel).Search(request))
    assert (code, info.reason, fields) == (INVALID, "TOP_K_OUT_OF_RANGE", ["top_k"])
    assert info.metadata == {"top_k": str(top_k), "max_top_k": "50"}


@pytest.mark.parametrize("nprobe", [0, -3])
def test_nprobe_out_of_range(channel: grpc.Channel, nprobe: int) -> None:
    request = spb.SearchRequest(query=spb.Query(text="hat"), nprobe=nprobe)
    code, info, fields = refused(lambda: SearchServiceStub(channel).Search(request))
    assert (code, info.reason, fields) == (INVALID, "NPROBE_OUT_OF_RANGE", ["nprobe"])


@pytest.mark.parametrize("field", ["view", "format", "priority"])
def test_enum_values_of_the_future(channel: grpc.Channel, field: str) -> None:
    request = spb.SearchRequest(query=spb.Query(text="hat"))
    setattr(request, field, 99)
    code, info, fields = refused(lambda: SearchServiceStub(channel).Search(request))
    assert (code, info.reason, fields) == (INVALID, "ENUM_VALUE_UNKNOWN", [field])


def test_a_batch_over_the_limit(channel: grpc.Channel) -> None:
    embed, search = EmbeddingServiceStub(channel), SearchServiceStub(channel)
    inputs = [epb.EmbedInput(text="x")] * 65
    code, info, fields = refused(lambda: embed.BatchEmbed(epb.BatchEmbedRequest(inputs=inputs)))
    assert (code, info.reason, fields) == (INVALID, "BATCH_TOO_LARGE", ["inputs"])
    requests = [spb.SearchRequest(query=spb.Query(text="x"))] * 65
    code, info, fields = refused(lambda: search.BatchSearch(spb.BatchSearchRequest(requests=requests)))
    assert (code, info.reason, fields) == (INVALID, "BATCH_TOO_LARGE", ["requests"])


def test_a_message_over_the_transports_limit(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        EmbeddingServiceStub(channel).EmbedImage(epb.EmbedImageRequest(image=bytes(9 * 2**20)))
    assert caught.value.code() is EXHAUSTED


def test_a_full_lane_says_so_and_when_to_come_back(server: Running, channel: grpc.Channel) -> None:
    """More than the lane holds, all at once: some are served, the rest refused before they cost anything."""
    capacity = server.app.settings.lane_capacity
    stub = EmbeddingServiceStub(channel)
    big = epb.BatchEmbedRequest(inputs=[epb.EmbedInput(image=png((200, 200)))] * 64)
    futures = [stub.BatchEmbed.future(big) for _ in range(2 * capacity // 64)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    assert errors, "twice the capacity cannot all be admitted"
    assert len(errors) < len(futures)
    for error in errors:
        status = rpc_status.from_call(error)
        info, _ = details_of(status.details)
        assert (error.code(), info.reason) == (EXHAUSTED, "QUEUE_FULL")
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in status.details)
        assert retry.retry_delay.nanos > 0


def test_a_deadline_that_cannot_be_met_beside_a_queue(server: Running, channel: grpc.Channel) -> None:
    stub = EmbeddingServiceStub(channel)
    busy = [
        stub.BatchEmbed.future(epb.BatchEmbedRequest(inputs=[epb.EmbedInput(image=png((200, 200)))] * 64))
        for _ in range(6)
    ]
    with pytest.raises(grpc.RpcError) as caught:
        stub.EmbedImage(epb.EmbedImageRequest(image=png((200, 200)), priority=common.PRIORITY_BULK), timeout=0.02)
    # Refused at once, or, by a server that has seen too few pictures to know, not before the deadline.
    assert caught.value.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert all(future.result().results for future in busy), "the others are unharmed"
