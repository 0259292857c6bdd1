"""``upsert_many`` of the blocking client: order, bounds, laziness and what is left when it breaks."""

import threading

import grpc
import pytest

from clipsearch.client import Client, ClientError, Internal, NewItem, RetryPolicy
from tests.unit.client.fake_server import DIMENSION, DRAINING, Fake, queue_full, status_of

QUICK = RetryPolicy(initial_backoff_s=0.01, max_backoff_s=0.01)


def items(*names: str) -> list[NewItem]:
    return [NewItem(name, text=f"text {name}") for name in names]


def test_keeps_order_and_returns_items_errors(client: Client, fake: Fake, tmp_path) -> None:
    many = [*items("a", "b"), NewItem("c", text=" "), NewItem("d", image=tmp_path / "missing.png"), *items("e")]
    results = list(client.catalogue.upsert_many(iter(many), batch_size=2))
    assert [(item_id, r.reason if isinstance(r, ClientError) else r) for item_id, r in results] == [
        ("a", "created"), ("b", "created"), ("c", "TEXT_EMPTY"), ("d", "FILE_UNREADABLE"), ("e", "created"),
    ]  # fmt: skip
    assert sorted(len(request.items) for request in fake.requests) == [1, 1, 2]
    assert len({request.request_id for request in fake.requests}) == 3
    assert list(client.catalogue.upsert_many([])) == []


def test_sends_nothing_for_a_chunk_of_errors(client: Client, fake: Fake, tmp_path) -> None:
    unread = [NewItem(name, image=tmp_path / "missing.png") for name in "ab"]
    results = dict(client.catalogue.upsert_many(unread, batch_size=1))
    assert [error.reason for error in results.values()] == ["FILE_UNREADABLE"] * 2
    assert fake.requests == []


def test_has_as_many_requests_under_way_as_told(client: Client, fake: Fake) -> None:
    fake.catalogue.meet = threading.Barrier(3)
    names = [str(n) for n in range(12)]
    results = list(client.catalogue.upsert_many(items(*names), batch_size=2, concurrency=3))
    assert results == [(name, "created") for name in names]
    assert fake.catalogue.most_under_way == 3


def test_lets_the_later_of_two_items_win(client: Client, fake: Fake) -> None:
    many = [NewItem(name, text=f"version {n}") for n, name in enumerate("abacbabca" * 4)]
    results = list(client.catalogue.upsert_many(many, batch_size=2, concurrency=4))
    assert [item_id for item_id, _ in results] == [item.id for item in many]
    assert {result for _, result in results} == {"created", "updated"}
    stored = fake.catalogue.collections["default"]
    assert {name: item.text for name, item in stored.items()} == {item.id: item.text for item in many}


def test_is_lazy(client: Client, fake: Fake) -> None:
    taken = []

    def endless():
        while True:
            taken.append(str(len(taken)))
            yield from items(taken[-1])

    results = client.catalogue.upsert_many(endless(), batch_size=4, concurrency=2)
    assert taken == []
    assert next(results) == ("0", "created")
    # Two requests and the chunk that did not find room beside them, whose end the thirteenth item showed.
    assert len(taken) == 13
    results.close()
    assert client.catalogue.stats().dimension == DIMENSION


def test_stays_below_the_message_limit(fake: Fake) -> None:
    with Client(fake.target, max_message_bytes=11 * 1024) as client:
        many = [NewItem(str(n), image=bytes([n]) * size) for n, size in enumerate((4096, 4096, 4096, 20_000, 1))]
        results = list(client.catalogue.upsert_many(many))
    assert [r.reason if isinstance(r, ClientError) else r for _, r in results] == [
        "created", "created", "created", "MESSAGE_TOO_LARGE", "created",
    ]  # fmt: skip
    assert all(request.ByteSize() <= 11 * 1024 for request in fake.requests)


def test_repeats_what_the_server_was_too_full_for(fake: Fake) -> None:
    fake.catalogue.lost = [queue_full(0.01), DRAINING]
    with Client(fake.target, retry=QUICK) as client:
        results = list(client.catalogue.upsert_many(items("a", "b", "c"), batch_size=1, concurrency=3))
    assert results == [("a", "created"), ("b", "created"), ("c", "created")]
    assert len(fake.requests) == 5
    assert len({request.request_id for request in fake.requests}) == 3


def test_that_breaks_names_what_has_no_result(client: Client, fake: Fake) -> None:
    results = []
    writing = client.catalogue.upsert_many(items(*"abcdefghi"), batch_size=2, concurrency=1)
    results.append(next(writing))
    fake.failures = [status_of(grpc.StatusCode.INTERNAL, "disk", "STORAGE_FAILED")]
    with pytest.raises(Internal) as caught:
        results.extend(writing)
    answered = [item_id for item_id, _ in results]
    assert answered == ["a", "b"]
    assert caught.value.unanswered == ("c", "d", "e", "f", "g")


def test_cancels_what_is_under_way_when_the_callers_iterable_breaks(client: Client, fake: Fake) -> None:
    def breaks():
        yield from items("a", "b")
        raise KeyError("mine")

    with fake.hanging(), pytest.raises(KeyError, match="mine"):
        list(client.catalogue.upsert_many(breaks(), batch_size=1))
    assert client.catalogue.stats().dimension == DIMENSION


def test_arguments_are_checked_before_the_first_item(client: Client) -> None:
    for arguments in ({"batch_size": 0}, {"concurrency": 0}, {"priority": "no"}, {"timeout": -1}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            client.catalogue.upsert_many(items("a"), **arguments)
    with pytest.raises(ValueError, match="page_size"):
        client.catalogue.list_items(page_size=0)
