"""The engine of a bidirectional stream, without a transport."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from clipsearch.rpc.stream import pump


class Source:
    """Numbers, and how many of them were read."""

    def __init__(self, count: int) -> None:
        self.read = 0
        self._count = count

    async def __aiter__(self) -> AsyncIterator[int]:
        for number in range(self._count):
            self.read += 1
            yield number


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_answers_come_in_the_order_in_which_items_finish() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    written: list[int] = []

    async def answer(number: int) -> int:
        await gates[number].wait()
        return number

    async def write(number: int) -> None:
        written.append(number)

    task = asyncio.create_task(pump(aiter(Source(3)), answer, write, window=3))
    for number in (2, 0, 1):
        gates[number].set()
        await settle()
    await task
    assert written == [2, 0, 1]


async def test_no_more_is_read_than_the_window_while_nothing_is_written() -> None:
    source = Source(100)
    may_write = asyncio.Semaphore(0)

    async def answer(number: int) -> int:
        return number

    async def write(number: int) -> None:
        await may_write.acquire()

    task = asyncio.create_task(pump(aiter(source), answer, write, window=4))
    await settle()
    assert source.read == 4
    may_write.release()
    await settle()
    assert source.read == 5
    for _ in range(99):
        may_write.release()
    await task
    assert source.read == 100


async def test_an_empty_stream_ends_at_once() -> None:
    async def never(number: int) -> int:
        raise AssertionError(number)

    async def write(number: int) -> None:
        raise AssertionError(number)

    await asyncio.wait_for(pump(aiter(Source(0)), never, write, window=4), timeout=5)


async def test_a_client_that_goes_away_takes_its_items_along() -> None:
    cancelled = 0

    async def answer(number: int) -> int:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return number

    async def write(number: int) -> None:
        raise AssertionError(number)

    task = asyncio.create_task(pump(aiter(Source(10)), answer, write, window=4))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == 4
