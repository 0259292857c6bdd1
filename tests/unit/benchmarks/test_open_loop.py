"""The open-loop generator against a real gRPC server that answers, refuses and is late: each call is told apart."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from grpc import StatusCode, aio, unary_unary_rpc_method_handler
from grpc import method_handlers_generic_handler as handlers

from benchmarks.harness.open_loop import LATE, OK, UNSENT, Plan, run
from clipsearch.errors import QueueFull
from clipsearch.rpc.status import DETAILS_KEY, to_status

SERVICE, METHOD = "test.Service", "/test.Service/Call"


async def answer(request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
    """Do what the request says."""
    if request == b"refuse":
        status = to_status(QueueFull("full", retry_after_s=0.25))
        trailer = ((DETAILS_KEY, status.SerializeToString()),)
        await context.abort(StatusCode.RESOURCE_EXHAUSTED, "full", trailer)
    if request == b"hang":
        await asyncio.Event().wait()
    return b"done"


def outcomes(tmp_path: Path, body: bytes, **changes: object) -> list[str]:
    """What became of the calls of one process that sends this request."""
    bodies = tmp_path / "bodies.json"
    bodies.write_text(json.dumps([body.hex()]))

    async def serve_and_run() -> list[str]:
        server = aio.server()
        handler = unary_unary_rpc_method_handler(answer)  # type: ignore[arg-type]  # of grpc.aio
        server.add_generic_rpc_handlers((handlers(SERVICE, {"Call": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        values = {"rate": 50.0, "begins": time.monotonic() + 0.5, "seconds": 0.5, "deadline_s": 20.0} | changes
        plan = Plan(address=f"127.0.0.1:{port}", method=METHOD, bodies=str(bodies), callers=["a"], seed=3, **values)  # type: ignore[arg-type]
        results = await asyncio.to_thread(run, [plan])
        await server.stop(0)
        return [call[3] for call in results[0].calls]

    return asyncio.run(serve_and_run())


@pytest.mark.parametrize(
    ("body", "deadline_s", "outcome"), [(b"answer", 20.0, OK), (b"refuse", 20.0, "QUEUE_FULL"), (b"hang", 0.2, LATE)]
)
def test_answers_refusals_and_late_calls_are_told_apart(
    tmp_path: Path, body: bytes, deadline_s: float, outcome: str
) -> None:
    # A busy machine may start the process after its first calls were to begin; those are not the server's.
    got = [one for one in outcomes(tmp_path, body, deadline_s=deadline_s) if one != UNSENT]
    assert len(got) > 5
    assert set(got) == {outcome}


def test_arrivals_do_not_wait_for_answers(tmp_path: Path) -> None:
    """A server that answers nothing is still sent everything."""
    answered = outcomes(tmp_path, b"answer", deadline_s=20.0)
    ignored = outcomes(tmp_path, b"hang", deadline_s=1.0)
    assert len(ignored) == len(answered), "the same seed makes the same arrivals"


def test_calls_in_flight_wait_as_they_are_told(tmp_path: Path) -> None:
    got = outcomes(tmp_path, b"refuse", deadline_s=0.0, in_flight=4)
    assert set(got) == {"QUEUE_FULL"}
    assert len(got) <= 4 * 3, "half a second, and a quarter between two tries"
