"""Calls that come when they come, whether or not earlier ones were answered: what users do, and what overloads.

Run as a program with a Plan as JSON on stdin; writes its Calls to stdout. A process each, since one that sends is slow
to read. Times are on CLOCK_MONOTONIC, which all processes of a machine share. A latency is counted from when a call was
to start by its plan; how much later it really did, the lag, tells whether the generator kept up.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from google.rpc import error_details_pb2, status_pb2
from grpc import aio

CALLER_HEADER = "x-caller"
OK, LATE, UNSENT = "OK", "LATE", "UNSENT"
"""Outcomes: answered in time, not answered by the deadline, and never sent, as it had passed by then. The others are
the reasons that the server refused for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process sends: Poisson arrivals of ``rate`` a second, or ``in_flight`` calls at once if not 0.

    Without a ``deadline_s`` (0) calls wait for as long as it takes.
    """

    address: str
    method: str
    bodies: str
    """File with a JSON list of requests in hexadecimal."""
    callers: list[str]
    rate: float
    begins: float
    seconds: float
    deadline_s: float
    seed: int
    in_flight: int = 0
    http: bool = False
    """Whether to POST to the path ``method`` over HTTP/1.1 instead of calling a gRPC method."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of HTTP, beside the caller's."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What became of each call: seconds from the beginning to its intended start, lag, latency, outcome, caller."""

    cpu_s: float
    calls: list[tuple[float, float, float, str, str]]


def run(plans: Sequence[Plan]) -> list[Calls]:
    """Run a process for each plan, all at once; raises CalledProcessError where one fails."""
    with ExitStack() as stack:
        children = []
        for plan in plans:
            command = [sys.executable, "-P", str(Path(__file__))]
            child = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(child.kill)
            assert child.stdin is not None
            child.stdin.write(json.dumps(asdict(plan)).encode())
            child.stdin.close()
            children.append(child)
        results = []
        for child in children:
            assert child.stdout is not None
            said = child.stdout.read()
            if child.wait():
                raise subprocess.CalledProcessError(child.returncode, child.args)
            results.append(Calls(**json.loads(said)))
        return results


_Call = Callable[[bytes, float | None, str], Awaitable[object]]
"""Sends a body within seconds, as a caller; raises AioRpcError, HttpError or TimeoutError."""


class HttpError(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")


class _Sender:
    def __init__(self, plan: Plan, call: _Call) -> None:
        self._plan, self._call = plan, call
        self._random = random.Random(plan.seed)
        self._bodies = [bytes.fromhex(body) for body in json.loads(Path(plan.bodies).read_text())]
        self.calls: list[tuple[float, float, float, str, str]] = []

    async def poisson(self) -> None:
        plan, tasks = self._plan, set()
        at = plan.begins
        while (at := at + self._random.expovariate(plan.rate)) < plan.begins + plan.seconds:
            if (early_s := at - time.monotonic()) > 0.0:
                await asyncio.sleep(early_s)
            task = asyncio.create_task(self._one(at))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def closed(self) -> None:
        async def again_and_again() -> None:
            while (now := time.monotonic()) < self._plan.begins + self._plan.seconds:
                if (wait_s := await self._one(now)) > 0.0:
                    await asyncio.sleep(wait_s)

        await asyncio.sleep(max(0.0, self._plan.begins - time.monotonic()))
        await asyncio.gather(*(again_and_again() for _ in range(self._plan.in_flight)))

    async def _one(self, intended: float) -> float:
        """Make a call; returns the seconds that a refusal asks to wait."""
        plan, body = self._plan, self._random.choice(self._bodies)
        caller = self._random.choice(plan.callers)
        sent = time.monotonic()
        left_s = plan.deadline_s - (sent - intended) if plan.deadline_s else None
        outcome, wait_s = UNSENT, 0.0
        if left_s is None or left_s > 0.0:
            try:
                await self._call(body, left_s, caller)
                outcome = OK
            except aio.AioRpcError as error:
                outcome, wait_s = _told(error)
            except TimeoutError:
                outcome = LATE
            except (HttpError, OSError) as error:  # aiohttp's errors of connections are OSErrors
                outcome = str(error) if isinstance(error, HttpError) else type(error).__name__
        took_s = time.monotonic() - intended
        if outcome == OK and plan.deadline_s and took_s > plan.deadline_s:
            outcome = LATE
        self.calls.append((intended - plan.begins, sent - intended, took_s, outcome, caller))
        return wait_s


def _told(error: aio.AioRpcError) -> tuple[str, float]:
    """The reason of a failed call and the wait that it asks for."""
    outcome, wait_s = LATE if error.code().name == "DEADLINE_EXCEEDED" else error.code().name, 0.0
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info) and outcome != LATE:
                    outcome = info.reason
                elif detail.Unpack(retry):
                    wait_s = retry.retry_delay.ToTimedelta().total_seconds()
    return outcome, wait_s


@asynccontextmanager
async def _grpc(plan: Plan) -> AsyncIterator[_Call]:
    async with aio.insecure_channel(plan.address) as channel:
        await channel.channel_ready()
        method = channel.unary_unary(plan.method)
        yield lambda body, left_s, caller: method(body, timeout=left_s, metadata=((CALLER_HEADER, caller),))


@asynccontextmanager
async def _http(plan: Plan) -> AsyncIterator[_Call]:
    import aiohttp

    url = f"http://{plan.address}{plan.method}"
    connector = aiohttp.TCPConnector(limit=0)

    async def call(body: bytes, left_s: float | None, caller: str) -> None:
        headers = {**plan.headers, CALLER_HEADER: caller}
        timeout = aiohttp.ClientTimeout(total=left_s)
        async with session.post(url, data=body, headers=headers, timeout=timeout) as answer:
            await answer.read()
            if answer.status != 200:
                raise HttpError(answer.status)

    async with aiohttp.ClientSession(connector=connector) as session:
        yield call


async def _main(plan: Plan) -> Calls:
    async with (_http if plan.http else _grpc)(plan) as call:
        sender = _Sender(plan, call)
        began = time.process_time()
        await (sender.closed() if plan.in_flight else sender.poisson())
        return Calls(time.process_time() - began, sender.calls)


if __name__ == "__main__":
    json.dump(asdict(asyncio.run(_main(Plan(**json.load(sys.stdin))))), sys.stdout)
