"""Resident memory of the server over many mixed requests, right ones, wrong ones and cancelled ones.

The warm-up is long: the allocator's pools of all threads grow for tens of thousands of requests, ever more slowly, and
a slope that begins there tells nothing about the days to come.
"""

import asyncio
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random

import grpc
from grpc import aio

from clipsearch.encoders.manifest import load_bundle

from ..context import Context
from ..figures import Summary, slope, summarise
from ..mixed import Call, Mix, Stubs
from ..models import sample
from ..process import resident_bytes
from ..report import Line, Outcome
from ..server import Served, clipsearch
from ..workload import captions

IN_FLIGHT = 32
SAMPLE_EVERY = 250
KIB, MIB = 2**10, 2**20
STEADY_KIB = 50.0
"""KiB per 1,000 requests below which memory counts as steady: 7.3 MiB over 150,000."""


class WrongAnswer(Exception):
    """A call ended otherwise than it had to."""


@dataclass(slots=True)
class Trace:
    """Requests finished and the server's resident bytes then; how many of each kind of request there were."""

    requests: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def record(self, pid: int) -> None:
        """Take a sample."""
        self.requests.append(self.kinds.total())
        self.resident.append(resident_bytes(pid))


def memory(context: Context) -> Outcome:
    """Send the mix and watch; the slope is that of the samples after the warm-up."""
    ready = sample(context.work, context.sample_bundle, context.pace.catalogue_items, context.seed)
    images = sorted((ready.catalogue / "images").glob("*.jpg"))
    random = Random(context.seed)
    chosen = random.sample(images, 64)
    mix = Mix(
        texts=captions(256, context.seed),
        pictures=[path.read_bytes() for path in chosen],
        items=[path.stem for path in chosen],
        dimension=load_bundle(ready.bundle).manifest.dimension,
        random=random,
    )
    with ExitStack() as stack:
        served = stack.enter_context(clipsearch(ready.bundle, context.log("memory"), data=ready.data))
        trace = asyncio.run(_send(context, served, mix))
    return _outcome(trace, context.pace.mixed_warm_up)


async def _send(context: Context, served: Served, mix: Mix) -> Trace:
    trace = Trace()
    trace.record(served.pid)
    total = context.pace.mixed_requests
    async with aio.insecure_channel(served.address) as channel:
        stubs = Stubs(channel)

        async def caller() -> None:
            while trace.kinds.total() < total:
                call = mix.next()
                trace.kinds[call.kind] += 1
                await _one(stubs, call)
                done = trace.kinds.total()
                if done // SAMPLE_EVERY > len(trace.requests) - 1:
                    trace.record(served.pid)
                    if done % (total // 10) < SAMPLE_EVERY:
                        context.say(f"memory: {done:,} requests, {trace.resident[-1] / MIB:.1f} MiB")

        async with asyncio.TaskGroup() as callers:
            for _ in range(IN_FLIGHT):
                callers.create_task(caller())
    trace.record(served.pid)
    return trace


async def _one(stubs: Stubs, call: Call) -> None:
    """Make one call and check that it ends as it has to; raises WrongAnswer."""
    ended = grpc.StatusCode.OK
    try:
        await call.make(stubs)
    except aio.AioRpcError as error:
        ended = error.code()
    except asyncio.CancelledError:
        if not call.cancelled:
            raise
        ended = grpc.StatusCode.CANCELLED
    # A call may be answered before its cancellation arrives.
    if ended is not call.expected and not (call.cancelled and ended is grpc.StatusCode.OK):
        raise WrongAnswer(f"{call.kind} ended with {ended.name}, not {call.expected.name}")


def _outcome(trace: Trace, warm_up: int) -> Outcome:
    first = next(i for i, count in enumerate(trace.requests) if count >= warm_up)
    steady = trace.resident[first:]
    grown = slope([count / 1000 for count in trace.requests[first:]], [size / KIB for size in steady])
    end = summarise([size / MIB for size in steady])

    def single(value: float) -> Summary:
        return Summary(value, value, value, 1)

    lines = [
        Line("memory", "at start", "MiB", single(trace.resident[0] / MIB), better="lower"),
        Line("memory", f"after {warm_up:,} requests", "MiB", single(trace.resident[first] / MIB), better="lower"),
        Line(
            "memory", f"at the end ({trace.requests[-1]:,}); spread since then", "MiB",
            Summary(trace.resident[-1] / MIB, end.low, end.high, end.count), better="lower",
        ),
        Line("memory", "slope per 1,000 requests", "KiB", single(grown), target=STEADY_KIB, better="lower"),
    ]  # fmt: skip
    return Outcome(
        lines,
        {"requests": trace.requests, "resident_bytes": trace.resident, "kinds": dict(sorted(trace.kinds.items()))},
    )
