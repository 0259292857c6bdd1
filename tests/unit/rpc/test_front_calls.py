"""The engine's side of a front, told of calls as a front tells it; what passes them is in tests/integration."""

import asyncio
import gc
from typing import Any

import grpc
import pytest

from clipsearch.rpc.front import frames as f
from clipsearch.rpc.front.calls import Calls, PassedCall
from clipsearch.rpc.front.frames import Frame
from clipsearch.rpc.methods import Methods

METHOD = "/some.Service/Wait"
CALL: Frame = (f.CALL, 1, METHOD, [], None, "peer", b"asked")
CANCELLED: Frame = (f.END, 1, grpc.StatusCode.CANCELLED.value[0], "the call was cancelled", [], None)


class Server:
    """Calls of one method, which says when it was reached and then waits."""

    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        methods = Methods([])
        handler = grpc.unary_unary_rpc_method_handler(self.wait, bytes, bytes)
        methods.add_registered_method_handlers("some.Service", {"Wait": handler})
        self.calls = Calls(methods, self.sent.append)

    async def wait(self, request: Any, context: Any) -> bytes:
        self.reached.set()
        await self.released.wait()
        return bytes(request)


def kept() -> int:
    gc.collect()
    return sum(type(one) is PassedCall for one in gc.get_objects())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("first", [CALL, (f.ASK, 1, METHOD, [])], ids=["call", "ask"])
@pytest.mark.parametrize("gone", [False, True], ids=["cancelled", "front gone"])
async def test_a_call_that_ends_before_it_begins_leaves_nothing(first: Frame, gone: bool) -> None:
    before, server = kept(), Server()
    server.calls.receive(first)
    if gone:
        server.calls.cancel_all()
    else:
        server.calls.receive((f.CANCEL, 1))
    await settle()
    assert server.sent == [CANCELLED] and not server.reached.is_set()
    assert kept() == before
    # Of a number that has ended nothing is known, whatever the front still says of it.
    server.calls.receive((f.CANCEL, 1))
    server.calls.cancel_all()
    assert server.sent == [CANCELLED]


async def test_a_call_that_is_cancelled_while_it_runs_ends_once() -> None:
    before, server = kept(), Server()
    server.calls.receive(CALL)
    await server.reached.wait()
    server.calls.receive((f.CANCEL, 1))
    server.calls.receive((f.CANCEL, 1))
    await settle()
    assert server.sent == [CANCELLED]
    assert kept() == before


async def test_a_call_is_answered() -> None:
    before, server = kept(), Server()
    server.calls.receive(CALL)
    server.released.set()
    await settle()
    assert server.sent == [(f.END, 1, grpc.StatusCode.OK.value[0], "", [], b"asked")]
    assert kept() == before
