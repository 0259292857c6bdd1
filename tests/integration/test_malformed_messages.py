"""Bytes that are not the method's message: answered with a reason, and not a line in the log."""

import logging
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from clipsearch.v1 import embedding_pb2 as pb

NOT_UTF8 = b"\x0a\x02\xff\xfe"  # field 1, a text, of two bytes that are none
CUT_SHORT = b"\x0a\x05ab"
NO_TAG = b"\xff\xff\xff"

METHODS = (
    "/clipsearch.v1.EmbeddingService/EmbedText",
    "/clipsearch.v1.SearchService/Search",
    "/clipsearch.v1.CatalogueService/UpsertItems",
    "/google.longrunning.Operations/GetOperation",
    "/grpc.health.v1.Health/Check",
)


def reason(error: grpc.RpcError) -> str:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("data", [NOT_UTF8, CUT_SHORT, NO_TAG], ids=["not UTF-8", "cut short", "no tag"])
def test_a_single_message(channel: grpc.Channel, method: str, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(method)(data, timeout=10)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(raised.value) == "MALFORMED_MESSAGE"
    assert not caplog.records, "whoever sends rubbish must not fill the log"


def test_a_stream_answers_what_came_before(channel: grpc.Channel, caplog: pytest.LogCaptureFixture) -> None:
    def requests() -> Iterator[bytes]:
        for item in ("a", "b"):
            yield pb.StreamEmbedRequest(item_id=item, input=pb.EmbedInput(text="a red dress")).SerializeToString()
        yield NO_TAG
        yield pb.StreamEmbedRequest(item_id="c", input=pb.EmbedInput(text="never read")).SerializeToString()

    answered = []
    stream = channel.stream_stream("/clipsearch.v1.EmbeddingService/StreamEmbed")
    with caplog.at_level(logging.WARNING), pytest.raises(grpc.RpcError) as raised:
        for data in stream(requests(), timeout=10):
            answered.append(pb.StreamEmbedResponse.FromString(data))
    assert sorted(one.item_id for one in answered) == ["a", "b"]
    assert all(one.HasField("output") for one in answered)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(raised.value) == "MALFORMED_MESSAGE"
    assert not caplog.records


def test_an_unknown_method_is_still_unknown(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/google.longrunning.Operations/Nothing")(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
