"""The pure parts: retry waits, chunks, the stream's window, statuses to errors, and what importing the client costs."""

import json
import subprocess
import sys

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.client import (
    ClientError,
    Embedded,
    Internal,
    Overloaded,
    ResourceExhausted,
    RetryPolicy,
    Timings,
    convert,
)
from clipsearch.client.bulk import Chunker, UnderWay, UpsertChunker, Window, merge, messages
from clipsearch.client.errors import from_status
from clipsearch.v1 import catalogue_pb2, common_pb2, embedding_pb2
from tests.unit.client.fake_server import queue_full, status_of

FULL = Overloaded("full", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=1.0)
EMBEDDED = Embedded(np.zeros(2, np.float32), False, Timings(0, 0, 0, 0, 0))


@pytest.mark.parametrize("dimension", [0, 1, 31, 32, 512, 4096])
def test_vectors_come_out_as_they_were_put_in(dimension: int) -> None:
    values = np.random.default_rng(dimension).standard_normal(dimension).astype(np.float32)
    message = common_pb2.Embedding(float32=common_pb2.FloatVector(values=values.tolist()))
    assert convert.vector(message).dtype == np.float32
    np.testing.assert_array_equal(convert.vector(message), values)
    convert.vector(message)[:] = 0  # writable, and a copy
    # A later version's message may hold more than the components.
    later = common_pb2.FloatVector.FromString(message.float32.SerializeToString() + b"\x12\x04more")
    np.testing.assert_array_equal(convert.vector(common_pb2.Embedding(float32=later)), values)


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    code = """
import sys, clipsearch.client
heavy = {"onnxruntime", "faiss", "PIL", "click", "rich", "tokenizers", "torch", "transformers", "pydantic",
         "pydantic_settings", "pyarrow"}
ours = {"rpc", "services", "batching", "encoders", "index", "catalogue", "settings", "app", "ports", "cli"}
print(sorted(heavy & set(sys.modules)), sorted(n for n in ours if "clipsearch." + n in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[] []\n"


def test_wait_is_the_told_one_plus_growing_jitter() -> None:
    policy = RetryPolicy(max_attempts=9, initial_backoff_s=0.1, max_backoff_s=0.3, multiplier=2)
    assert [policy.wait_s(FULL, n, 60, lambda: 0.0) for n in (1, 2, 3, 4)] == [1.0] * 4
    assert [policy.wait_s(FULL, n, 60, lambda: 1.0) for n in (1, 2, 3, 4)] == pytest.approx([1.1, 1.2, 1.3, 1.3])


def test_no_wait_when_the_server_did_not_ask_for_one_or_time_is_up() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert policy.wait_s(FULL, 3, 60) is None
    assert policy.wait_s(FULL, 1, 1.0) is None
    assert policy.wait_s(ResourceExhausted("too large"), 1, 60) is None
    assert policy.wait_s(Internal("bug"), 1, 60) is None


def test_grpcs_own_retries_leave_out_what_must_not_be_done_twice() -> None:
    config = json.loads(RetryPolicy(max_attempts=9).service_config() or "")
    (method_config,) = config["methodConfig"]
    methods = {name["method"] for name in method_config["name"]}
    reads = {"GetModel", "Search", "BatchSearch", "GetItem", "ListItems", "ListCollections", "GetCollectionStats"}
    reads |= {"GetFacets"}
    by_request_id = {"UpsertItems", "DeleteItems"}
    operations = {"GetOperation", "ListOperations", "WaitOperation", "CancelOperation"}
    assert methods == {"EmbedText", "EmbedImage", "BatchEmbed"} | reads | by_request_id | operations
    assert method_config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED"]
    assert method_config["retryPolicy"]["maxAttempts"] == 5
    assert RetryPolicy(max_attempts=1).service_config() is None


@given(st.lists(st.integers(0, 40) | st.none(), max_size=60), st.integers(1, 7), st.integers(20, 90))
def test_chunks_keep_every_item_in_order_within_the_limits(sizes, max_items, max_bytes) -> None:
    items = [ClientError("bad") if size is None else embedding_pb2.EmbedInput(image=bytes(size)) for size in sizes]
    chunker: Chunker[embedding_pb2.EmbedInput] = Chunker(max_items, max_bytes)
    chunks = list(chunker.chunks(items))
    assert [item for chunk in chunks for item in chunk] == items
    for chunk in chunks:
        assert 1 <= len(chunk) <= max_items
        request = embedding_pb2.BatchEmbedRequest(inputs=messages(chunk))
        assert request.ByteSize() <= max_bytes or len(request.inputs) == 1


def ids(*names: str) -> list[catalogue_pb2.UpsertItem | ClientError]:
    return [catalogue_pb2.UpsertItem(id=name) for name in names]


def test_a_repeated_id_begins_the_next_chunk() -> None:
    chunks = list(UpsertChunker(4, 1000).chunks(ids(*"abcabbdefgh")))
    assert ["".join(item.id for item in messages(chunk)) for chunk in chunks] == ["abc", "ab", "bdef", "gh"]


def test_items_with_several_pictures_count_as_so_many() -> None:
    pictures = [catalogue_pb2.Images(images=[b"x"] * count) for count in (3, 1, 2, 9, 0, 1)]
    chunker = UpsertChunker(4, 1000)
    chunks = chunker.chunks(catalogue_pb2.UpsertItem(id=str(n), images=images) for n, images in enumerate(pictures))
    assert [len(chunk) for chunk in chunks] == [2, 1, 1, 2]


@given(st.text("abcd", max_size=40), st.integers(1, 6))
def test_chunks_of_writes_keep_order_and_hold_an_id_once(names, max_items) -> None:
    chunks = [[item.id for item in messages(c)] for c in UpsertChunker(max_items, 1000).chunks(ids(*names))]
    assert [name for chunk in chunks for name in chunk] == list(names)
    assert all(len(set(chunk)) == len(chunk) <= max_items for chunk in chunks)


def test_writes_under_way_are_bounded_and_have_no_id_in_common() -> None:
    under_way: UnderWay[int] = UnderWay(2)
    under_way.add(ids("a", "b"), 1)
    assert under_way.has_room_for(ids("c"))
    assert not under_way.has_room_for(ids("c", "b"))
    under_way.add([ClientError("bad")], None)
    assert not under_way.has_room_for(ids("c"))
    assert under_way.oldest() == (ids("a", "b"), 1)
    under_way.drop_oldest()
    assert under_way.has_room_for(ids("a"))
    assert list(under_way.calls()) == []
    with pytest.raises(ValueError, match="concurrency"):
        UnderWay(0)


def test_merging_notices_a_wrong_number_of_answers() -> None:
    bad = ClientError("bad")
    chunk = [embedding_pb2.EmbedInput(text="a"), bad, embedding_pb2.EmbedInput(text="b")]
    assert merge(chunk, [1, 2]) == [1, bad, 2]
    with pytest.raises(Internal, match="gave 1 results for 2 items"):
        merge(chunk, [1])


@given(st.data(), st.booleans())
def test_window_hands_back_everything_once(data, in_order) -> None:
    window: Window[int] = Window(5, 1000, in_order)
    names: list[str] = []
    handed: list[int] = []
    sent = 0
    while sent < 20 or not window.is_empty():
        if sent < 20 and not window.is_full():
            names.append(window.open(sent, 10))
            sent += 1
        else:
            name = data.draw(st.sampled_from(names))
            names.remove(name)
            handed += [key for key, _ in window.answer(name, EMBEDDED)]
            assert sent - len(handed) <= 5
    assert sorted(handed) == list(range(20))
    if in_order:
        assert handed == sorted(handed)


def test_window_refuses_answers_to_what_was_not_sent() -> None:
    window: Window[str] = Window(5, 1000, in_order=True)
    window.open("a", 1)
    second = window.open("b", 1)
    assert window.answer(second, EMBEDDED) == []
    for name in ("7", "x", "", "-1", second):
        with pytest.raises(Internal, match="not sent"):
            window.answer(name, EMBEDDED)
    # The second has an answer, but it was held for its turn: the caller does not have it.
    assert window.unanswered() == ("a", "b")


def test_foreign_details_are_left_out() -> None:
    status = status_of(grpc.StatusCode.UNAVAILABLE, "no", "PROXY_DOWN", domain="proxy.example")
    status.details.add().Pack(error_details_pb2.DebugInfo(detail="x"))
    error = from_status(status)
    assert (type(error).__name__, error.reason, error.metadata) == ("Unavailable", "", {})


def test_codes_without_a_class_of_their_own() -> None:
    error = from_status(status_pb2.Status(code=grpc.StatusCode.UNIMPLEMENTED.value[0], message="old server"))
    assert type(error) is ClientError
    assert error.code is grpc.StatusCode.UNIMPLEMENTED
    assert from_status(status_pb2.Status(code=99)).code is grpc.StatusCode.UNKNOWN


def test_only_a_told_wait_makes_an_overload() -> None:
    assert isinstance(from_status(queue_full(0.25)), Overloaded)
    assert from_status(queue_full(0.25)).retry_after_s == 0.25
    limit = status_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", "")
    assert type(from_status(limit)) is ResourceExhausted
