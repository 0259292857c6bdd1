"""StreamEmbed through both clients, against a real server that answers in groups, each backwards."""

import asyncio
import threading
from contextlib import aclosing

import grpc
import numpy as np
import pytest

from clipsearch.client import AsyncClient, Cancelled, Client, Embedded, Internal, InvalidArgument, Unavailable
from tests.unit.client.fake_server import Fake, vector_of


def texts(count: int) -> list[tuple[int, str]]:
    return [(number, f"text {number}") for number in range(count)]


def test_every_item_gets_its_answer_as_they_finish(client: Client, fake: Fake) -> None:
    fake.stream_group = 4
    results = list(client.stream_embed(texts(10), window=8))
    assert [key for key, _ in results] == [3, 2, 1, 0, 7, 6, 5, 4, 9, 8]
    for key, result in results:
        assert isinstance(result, Embedded)
        np.testing.assert_allclose(result.vector, vector_of(f"text {key}".encode()), rtol=1e-6)


def test_in_order(client: Client, fake: Fake) -> None:
    fake.stream_group = 4
    assert [key for key, _ in client.stream_embed(texts(10), window=8, in_order=True)] == list(range(10))


def test_window_bounds_what_is_taken(client: Client) -> None:
    taken = []

    def items():
        for key, text in texts(50):
            taken.append(key)
            yield key, text

    for done, _ in enumerate(client.stream_embed(items(), window=5)):
        assert len(taken) <= done + 5
    assert len(taken) == 50


def test_window_is_bounded_by_bytes_too(fake: Fake) -> None:
    taken = []

    def items():
        for key in range(10):
            taken.append(key)
            yield key, bytes([key]) * 4000

    with Client(fake.target, max_message_bytes=8192) as client:
        for done, _ in enumerate(client.stream_embed(items(), window=100)):
            # Three of 4,000 bytes are the first to reach the bound of 8,192.
            assert len(taken) <= done + 3


async def test_an_error_in_place_of_an_item_takes_its_place_in_the_results(client: Client, fake: Fake) -> None:
    missing = InvalidArgument("no such picture", code=grpc.StatusCode.INVALID_ARGUMENT, reason="GONE")
    items = [(1, "a"), (2, missing), (3, "c")]
    results = dict(client.stream_embed(items, in_order=True))
    assert list(results) == [1, 2, 3]
    assert results[2] is missing
    async with AsyncClient(fake.target) as other:
        results = {key: result async for key, result in other.stream_embed(items, in_order=True)}
    assert list(results) == [1, 2, 3]
    assert results[2] is missing
    assert [request.input.text for request in fake.requests] == ["a", "c"] * 2


def test_items_errors_are_results(client: Client, fake: Fake, tmp_path) -> None:
    items = [("same", "a"), ("same", " "), (None, tmp_path / "missing.png"), (("any", "type"), b"picture")]
    results = list(client.stream_embed(items, in_order=True))
    assert [key for key, _ in results] == ["same", "same", None, ("any", "type")]
    assert [type(result) for _, result in results] == [Embedded, InvalidArgument, InvalidArgument, Embedded]
    assert results[1][1].reason == "TEXT_EMPTY"
    assert results[2][1].reason == "FILE_UNREADABLE"
    assert len(fake.requests) == 3


def test_empty_stream(client: Client) -> None:
    assert list(client.stream_embed([])) == []


def test_broken_stream_names_the_unanswered(client: Client, fake: Fake) -> None:
    fake.stream_fails_after = 3
    results = []
    with pytest.raises(Unavailable) as caught:
        results.extend(client.stream_embed(texts(10), window=6))
    assert caught.value.reason == "SHUTTING_DOWN"
    answered = {key for key, _ in results}
    assert set(caught.value.unanswered) | answered >= set(range(6))
    assert not set(caught.value.unanswered) & answered
    # One attempt: what it answered has been handed out already.
    assert len(fake.requests) == 3


def test_stream_that_ends_early(client: Client, fake: Fake) -> None:
    fake.stream_ends_after = 2
    with pytest.raises(Internal, match="ended the stream") as caught:
        list(client.stream_embed(texts(4), window=4))
    assert caught.value.unanswered == (2, 3)


def test_exception_of_the_callers_iterable_comes_out(client: Client) -> None:
    def items():
        yield 1, "a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(client.stream_embed(items()))
    assert client.embed_text("still works").vector.size


def test_dropped_generator_ends_the_call_and_its_thread(client: Client) -> None:
    before = set(threading.enumerate())
    stream = client.stream_embed(texts(100), window=2)
    next(stream)
    started = set(threading.enumerate()) - before
    stream.close()
    for thread in started:
        if "consum" in thread.name.lower():
            thread.join(10)
            assert not thread.is_alive()


def test_broken_ordered_stream_counts_held_answers_as_unanswered(client: Client, fake: Fake) -> None:
    fake.stream_group, fake.stream_fails_after = 2, 5
    results = []
    with pytest.raises(Unavailable) as caught:
        results.extend(client.stream_embed(texts(6), window=6, in_order=True))
    assert sorted([*caught.value.unanswered, *(key for key, _ in results)]) == list(range(6))


async def test_async_every_item_gets_its_answer(fake: Fake) -> None:
    fake.stream_group = 4
    async with AsyncClient(fake.target) as client:
        unordered = [pair async for pair in client.stream_embed(texts(10), window=8)]
        ordered = [key async for key, _ in client.stream_embed(texts(10), window=8, in_order=True)]
    assert sorted(key for key, _ in unordered) == ordered == list(range(10))
    for key, result in unordered:
        np.testing.assert_allclose(result.vector, vector_of(f"text {key}".encode()), rtol=1e-6)


async def test_async_window_bounds_what_is_taken(fake: Fake) -> None:
    taken = []

    async def items():
        for key, text in texts(50):
            taken.append(key)
            yield key, text

    done = 0
    async with AsyncClient(fake.target) as client:
        async for _ in client.stream_embed(items(), window=5):
            assert len(taken) <= done + 5
            done += 1
    assert done == 50


async def test_async_results_come_while_the_iterable_waits(fake: Fake) -> None:
    answered = asyncio.Event()

    async def items():
        yield 1, "a"
        await asyncio.wait_for(answered.wait(), 10)
        yield 2, "b"

    keys = []
    async with AsyncClient(fake.target) as client:
        async for key, _ in client.stream_embed(items()):
            keys.append(key)
            answered.set()
    assert keys == [1, 2]


async def test_async_items_errors_are_results(fake: Fake, tmp_path) -> None:
    items = [("a", "a"), ("b", " "), ("c", tmp_path / "missing.png")]
    async with AsyncClient(fake.target) as client:
        results = [pair async for pair in client.stream_embed(items, in_order=True)]
        assert [pair async for pair in client.stream_embed([])] == []
    assert [type(result) for _, result in results] == [Embedded, InvalidArgument, InvalidArgument]


async def test_async_broken_stream_names_the_unanswered(fake: Fake) -> None:
    fake.stream_fails_after = 3
    answered = set()
    async with AsyncClient(fake.target) as client:
        with pytest.raises(Unavailable) as caught:
            async for key, _ in client.stream_embed(texts(10), window=6):
                answered.add(key)
        assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert caught.value.unanswered
    assert not set(caught.value.unanswered) & answered


async def test_async_stream_that_ends_early(fake: Fake) -> None:
    fake.stream_ends_after = 2
    async with AsyncClient(fake.target) as client:
        # Unavailable where the end came while an item was being sent: gRPC keeps no other word of it then.
        with pytest.raises((Internal, Unavailable), match=r"ended the stream|the stream ended") as caught:
            async for _ in client.stream_embed(texts(4), window=4):
                pass
    assert caught.value.unanswered[-2:] == (2, 3)


async def test_async_exception_of_the_callers_iterable_comes_out(fake: Fake) -> None:
    async def items():
        yield 1, "a"
        raise KeyError("mine")

    async with AsyncClient(fake.target) as client:
        with pytest.raises(KeyError, match="mine"):
            async for _ in client.stream_embed(items()):
                pass


async def test_async_leaving_early_ends_the_call(fake: Fake) -> None:
    async with AsyncClient(fake.target) as client:
        async with aclosing(client.stream_embed(texts(100), window=2)) as stream:
            async for key, _ in stream:
                assert key == 0
                break
        assert (await client.embed_text("still works")).vector.size
    assert len(asyncio.all_tasks()) == 1


async def test_async_closing_the_client_ends_its_streams(fake: Fake) -> None:
    client = AsyncClient(fake.target)
    never = asyncio.Event()

    async def items():
        yield 1, "a"
        await never.wait()

    stream = client.stream_embed(items())
    assert (await anext(stream))[0] == 1
    await client.close()
    with pytest.raises(Cancelled):
        await anext(stream)
