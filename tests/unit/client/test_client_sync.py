import math

import grpc
import numpy as np
import pytest

from clipsearch.client import (
    Client,
    ClientError,
    DeadlineExceeded,
    Embedded,
    InvalidArgument,
    NotFound,
    Overloaded,
    Query,
    ResourceExhausted,
    RetryPolicy,
    Unavailable,
)
from clipsearch.v1 import common_pb2
from tests.unit.client.fake_server import DIMENSION, DRAINING, Fake, queue_full, vector_of


class Time:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_embeds_a_text(client: Client, fake: Fake) -> None:
    embedded = client.embed_text("a red hat", priority="bulk")
    np.testing.assert_allclose(embedded.vector, vector_of(b"a red hat"), rtol=1e-6)
    assert embedded.vector.dtype == np.float32
    assert embedded.vector.shape == (DIMENSION,)
    assert not embedded.truncated
    assert embedded.timings.encode_us == 7
    assert fake.requests[0].priority == common_pb2.PRIORITY_BULK
    assert client.embed_text("x" * 101).truncated


def test_embeds_a_picture_from_bytes_or_a_file(client: Client, tmp_path) -> None:
    file = tmp_path / "p.png"
    file.write_bytes(b"picture")
    for image in (b"picture", file):
        np.testing.assert_allclose(client.embed_image(image).vector, vector_of(b"picture"), rtol=1e-6)
    with pytest.raises(FileNotFoundError):
        client.embed_image(tmp_path / "none.png")
    with pytest.raises(TypeError, match=r"a picture is bytes or a .*, not str"):
        client.embed_image("p.png")  # type: ignore[arg-type]


def test_half_precision_transport(fake: Fake) -> None:
    with Client(fake.target, transport="float16") as client:
        vector = client.embed_text("hat").vector
    assert fake.requests[0].format == common_pb2.EMBEDDING_FORMAT_FLOAT16
    assert vector.dtype == np.float32
    assert np.array_equal(vector, vector_of(b"hat").astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of .* not none"),
        ({"text": "a", "item_id": "b"}, "not text and item_id"),
        ({"text": "a", "terms": [(Query(text="b"), 1.0)]}, "not text and terms"),
        ({"terms": []}, "at least one query"),
        ({"terms": [(Query(terms=[(Query(text="a"), 1.0)]), 1.0)]}, "must not have terms of its own"),
        ({"vector": np.zeros((2, 2))}, r"one dimension, not the shape \(2, 2\)"),
        ({"text": "a", "view": "all"}, "view must be one of basic, metadata, full, not 'all'"),
        ({"text": "a", "priority": "high"}, "priority must be one of"),
        ({"text": "a", "timeout": 0}, "timeout must be above zero"),
        ({"text": "a", "timeout": math.nan}, "timeout must be above zero"),
    ],
)
def test_bad_arguments_raise_at_once(client: Client, fake: Fake, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        client.search(**arguments)
    assert fake.requests == []


def test_bad_settings_raise_at_once() -> None:
    for settings in (
        {"timeout": -1},
        {"transport": "float64"},
        {"max_message_bytes": 10},
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            Client("127.0.0.1:1", **settings)
    with pytest.raises(ValueError, match="max_attempts"):
        RetryPolicy(max_attempts=0)
    with pytest.raises(ValueError, match="backoff"):
        RetryPolicy(initial_backoff_s=3, max_backoff_s=1)
    with pytest.raises(ValueError, match="backoff"):
        RetryPolicy(initial_backoff_s=0.001)


def test_bulk_arguments_are_checked_before_the_first_item(client: Client) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        client.embed_batch(["a"], batch_size=0)
    with pytest.raises(ValueError, match="priority"):
        client.embed_batch(["a"], priority="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="window"):
        client.stream_embed([(1, "a")], window=0)
    with pytest.raises(ValueError, match="view"):
        client.search_batch([Query(text="a")], view="no")  # type: ignore[arg-type]


def test_error_details_become_a_typed_error(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.embed_text(" ")
    error = caught.value
    assert (error.code, error.reason, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, "TEXT_EMPTY", "text")
    assert error.message == "the text is blank"
    assert error.metadata == {"limit": "7"}
    assert error.retry_after_s is None
    assert str(error) == "INVALID_ARGUMENT (TEXT_EMPTY): the text is blank"
    with pytest.raises(NotFound) as missing:
        client.search(item_id="nobody")
    assert missing.value.reason == "ITEM_NOT_FOUND"
    assert missing.value.field is None


def test_batch_keeps_order_and_returns_items_errors(client: Client, fake: Fake, tmp_path) -> None:
    file = tmp_path / "p.png"
    file.write_bytes(b"picture")
    items = ["a", " ", file, tmp_path / "missing.png", b"bytes", "e"]
    results = list(client.embed_batch(items, batch_size=2))
    assert [type(result) for result in results] == [
        Embedded, InvalidArgument, Embedded, InvalidArgument, Embedded, Embedded,
    ]  # fmt: skip
    assert [r.reason for r in results if isinstance(r, ClientError)] == ["TEXT_EMPTY", "FILE_UNREADABLE"]
    np.testing.assert_allclose(results[2].vector, vector_of(b"picture"), rtol=1e-6)
    np.testing.assert_allclose(results[5].vector, vector_of(b"e"), rtol=1e-6)
    # The unreadable file takes a place in its chunk but none in the request.
    assert [len(request.inputs) for request in fake.requests] == [2, 1, 2]


def test_batch_is_lazy(client: Client, fake: Fake) -> None:
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield str(number)

    results = client.embed_batch(items(), batch_size=4)
    assert taken == []
    next(results)
    assert len(taken) == 5
    assert len(fake.requests) == 1


def test_batches_stay_below_the_message_limit(fake: Fake) -> None:
    with Client(fake.target, max_message_bytes=11 * 1024) as client:
        pictures = [bytes([i]) * 4096 for i in range(5)]
        results = list(client.embed_batch([*pictures, b"x" * 20_000, "a"]))
    assert [len(request.inputs) for request in fake.requests] == [2, 2, 2]
    assert all(request.ByteSize() <= 11 * 1024 for request in fake.requests)
    assert [type(result) for result in results] == [Embedded] * 5 + [InvalidArgument, Embedded]
    assert results[5].reason == "MESSAGE_TOO_LARGE"


def test_model(client: Client) -> None:
    model = client.model()
    assert (model.source, model.weight_hash, model.dimension, model.context_length) == ("fake", "abc", DIMENSION, 77)


def test_full_server_is_asked_again_after_the_told_wait(fake: Fake) -> None:
    time = Time()
    fake.failures = [queue_full(3.0), queue_full(3.0)]
    with Client(fake.target, timeout=60, clock=time.clock, sleep=time.sleep) as client:
        client.embed_text("hat")
    assert len(fake.requests) == 3
    assert 3.0 <= time.slept[0] <= 3.1
    assert 3.0 <= time.slept[1] <= 3.2
    # Each attempt gets what is left of the deadline.
    assert fake.remaining_s[2] < 55 < fake.remaining_s[1] < 58 < fake.remaining_s[0]


def test_attempts_are_bounded(fake: Fake) -> None:
    time = Time()
    fake.failures = [queue_full(0.5)] * 9
    with (
        Client(fake.target, retry=RetryPolicy(max_attempts=3), clock=time.clock, sleep=time.sleep) as client,
        pytest.raises(Overloaded) as caught,
    ):
        client.embed_text("hat")
    assert len(fake.requests) == 3
    assert caught.value.retry_after_s == 0.5
    assert caught.value.reason == "QUEUE_FULL"


def test_no_wait_past_the_deadline(fake: Fake) -> None:
    time = Time()
    fake.failures = [queue_full(5.0)]
    with Client(fake.target, clock=time.clock, sleep=time.sleep) as client, pytest.raises(Overloaded):
        client.embed_text("hat", timeout=5)
    assert time.slept == []


def test_nothing_else_is_retried(client: Client, fake: Fake) -> None:
    with pytest.raises(InvalidArgument):
        client.embed_text(" ")
    assert len(fake.requests) == 1


def test_unavailable_is_retried_by_grpc_even_with_a_large_picture(fake: Fake) -> None:
    fake.failures = [DRAINING]
    policy = RetryPolicy(initial_backoff_s=0.01, max_backoff_s=0.01)
    with Client(fake.target, retry=policy) as client:
        client.embed_image(b"x" * 2_000_000)
    assert len(fake.requests) == 2


def test_unavailable_is_not_retried_when_told(fake: Fake) -> None:
    fake.failures = [DRAINING]
    with Client(fake.target, retry=RetryPolicy(max_attempts=1)) as client, pytest.raises(Unavailable) as caught:
        client.embed_text("hat")
    assert caught.value.reason == "SHUTTING_DOWN"
    assert len(fake.requests) == 1


def test_no_server() -> None:
    policy = RetryPolicy(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.01)
    with Client("127.0.0.1:1", retry=policy) as client:
        with pytest.raises(Unavailable) as caught:
            client.search(text="hat")
        assert caught.value.reason == ""
        assert not client.ready()


def test_message_over_grpcs_limit_is_no_overload(fake: Fake) -> None:
    with Client(fake.target, max_message_bytes=4096) as client, pytest.raises(ResourceExhausted) as caught:
        client.embed_image(b"x" * 10_000)
    assert not isinstance(caught.value, Overloaded)


def test_deadline_reaches_the_server_and_passes(fake: Fake) -> None:
    with Client(fake.target) as client:
        client.embed_text("hat", timeout=5)
        assert 4 < fake.remaining_s[0] < 5.5
        client.embed_text("hat")
        assert 25 < fake.remaining_s[1] < 31
        with fake.hanging(), pytest.raises(DeadlineExceeded):
            client.embed_text("hat", timeout=0.05)


def test_ready_and_waiting_for_it(fake: Fake) -> None:
    time = Time()
    fake.serving = [False, False, True]
    with Client(fake.target, clock=time.clock, sleep=time.sleep) as client:
        assert not client.ready()
        client.wait_until_ready(timeout=5)
        assert time.slept == [0.1]
        assert client.ready()
        fake.serving = [False]
        with pytest.raises(DeadlineExceeded, match="did not report SERVING within 1 s"):
            client.wait_until_ready(timeout=1)
    assert 9 <= len(time.slept) <= 11
