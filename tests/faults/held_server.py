"""A real server whose encoders the tests hold, slow down in prediction, or make fail; and calls on it."""

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from clipsearch.batching.lane import Lane
from clipsearch.services.serving import Model
from clipsearch.settings import Settings
from clipsearch.v1 import embedding_pb2 as pb
from clipsearch.v1.embedding_pb2_grpc import EmbeddingServiceStub
from tests.integration.support import SAMPLE_BUNDLE, Running

LIMIT_S = 30.0
CALLER = "x-caller"


def settings(**changes: Any) -> Settings:
    # One worker, so that what waits behind a batch that is held is known.
    fixed = {"encoder_workers": 1, "caller_header": CALLER, "device": "cpu"}
    return Settings(**{"bundle": SAMPLE_BUNDLE, "listen": "127.0.0.1:0", **fixed, **changes})


@contextmanager
def serving(**changes: Any) -> Iterator[tuple[Running, EmbeddingServiceStub]]:
    """A server of its own and its embedding service."""
    with Running(settings(**changes)) as running, grpc.insecure_channel(running.address) as channel:
        yield running, EmbeddingServiceStub(channel)


def change_encoder(lane: Lane[Any, Any], change: Callable[[Any], Any]) -> None:
    """Put something between a lane's tower and what is done with its vectors."""
    by_model: Any = lane._run
    (run,) = by_model.args
    changed: dict[Model, Model] = {}

    def run_changed(model: Model, batch: Sequence[Any]) -> Any:
        if model not in changed:
            tower = SimpleNamespace(encode=change(getattr(model, lane.name).encode))
            changed[model] = replace(model, **{lane.name: tower})
        return run(changed[model], batch)

    lane._run = functools.partial(by_model.func, run_changed)


class Held:
    """Batches of a lane wait until they are released; those that ran are known."""

    def __init__(self, lane: Lane[Any, Any]) -> None:
        self.batches: list[list[Any]] = []
        self._started, self._go = threading.Semaphore(0), threading.Event()
        change_encoder(lane, self._hold)

    def _hold(self, encode: Callable[[Sequence[Any]], Any]) -> Callable[[Sequence[Any]], Any]:
        def held(values: Sequence[Any]) -> Any:
            self.batches.append(list(values))
            self._started.release()
            assert self._go.wait(LIMIT_S)
            return encode(values)

        return held

    def wait(self) -> None:
        """Until one more batch has begun."""
        assert self._started.acquire(timeout=LIMIT_S)

    def release(self) -> None:
        self._go.set()


def learned(running: Running, lane: Lane[Any, Any], seconds: float) -> None:
    """Have a lane believe that each item takes so long."""
    done = threading.Event()

    def learn() -> None:
        for _ in range(200):
            lane.forecast.ran(1, 1, seconds)
            lane.forecast.ran(4, 4, 4 * seconds)
        done.set()

    running._loop.call_soon_threadsafe(learn)
    assert done.wait(LIMIT_S)


def text(stub: EmbeddingServiceStub, words: str, caller: str = "", timeout: float | None = LIMIT_S) -> Any:
    """A call under way."""
    metadata = ((CALLER, caller),) if caller else ()
    return stub.EmbedText.future(pb.EmbedTextRequest(text=words), timeout=timeout, metadata=metadata)


def refusal(call: Any) -> tuple[str, float | None]:
    """The reason for which a call failed, and the wait in seconds that it was told; empty where it did not fail."""
    error = call.exception()
    if error is None:
        return "", None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    reason, wait = str(error.code()), None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    reason = info.reason
                elif detail.Unpack(retry):
                    wait = retry.retry_delay.ToTimedelta().total_seconds()
    return reason, wait
