"""A bare ONNX Runtime session in a process of its own: the ceiling that serving is measured against."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Batch = NDArray[Any]
"""What one run of the graph takes: int64 ids [n, length] or uint8 pixels [n, size, size, 3]."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How a session is run fastest: rows per batch, and whether idle threads spin."""

    batch: int
    spinning: bool


class RawSession:
    """A process that holds one session at a time, with ONNX Runtime's defaults and all cores. A context manager."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.spinning: bool | None = None

    @property
    def pid(self) -> int:
        """The worker's process id."""
        assert self._process.pid is not None
        return self._process.pid

    def open(self, graph: Path, spinning: bool) -> None:
        """Load a graph, in place of the one before; ``spinning`` as for ``session.intra_op.allow_spinning``."""
        self._call("open", graph, spinning)
        self.spinning = spinning

    def run(self, batches: Sequence[Batch], seconds: float) -> list[float]:
        """Run the batches in turn, whole rounds of all, for at least ``seconds``; returns seconds per row of each."""
        result: list[float] = self._call("run", list(batches), seconds)
        return result

    def latencies(self, batches: Sequence[Batch]) -> list[float]:
        """Run each batch once, and return the seconds that each call took."""
        result: list[float] = self._call("latencies", list(batches))
        return result

    def compute(self, batch: Batch) -> NDArray[np.float32]:
        """Run one batch and return the vectors, float32 [n, dimension]."""
        vectors: NDArray[np.float32] = self._call("compute", batch)
        return vectors

    def _call(self, method: str, *arguments: Any) -> Any:
        self._connection.send((method, arguments))
        try:
            failure, result = self._connection.recv()
        except EOFError as error:
            raise RuntimeError("the process of the raw session died") from error
        if failure is not None:
            raise RuntimeError(f"the raw session failed: {failure}")
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()  # the worker ends when nobody can ask it any more
        self._process.join(10.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def best_choice(
    session: RawSession,
    graph: Path,
    *,
    make_batches: Callable[[int], Sequence[Batch]],
    sizes: Sequence[int],
    seconds: float,
    passes: int,
) -> tuple[Choice, list[dict[str, float | int | bool]]]:
    """Try every batch size with and without spinning; returns the fastest, with the session left open, and all tries.

    ``make_batches`` gives one batch of n rows of each input. The best of ``passes`` tries counts: what disturbs a try
    only ever slows it down.
    """
    best: dict[Choice, float] = {}
    for _ in range(passes):
        for spinning in (True, False):
            session.open(graph, spinning)
            for size in sizes:
                costs = session.run(make_batches(size), seconds)
                rate = len(costs) / sum(costs)
                choice = Choice(size, spinning)
                best[choice] = max(rate, best.get(choice, 0.0))
    chosen = max(best, key=best.__getitem__)
    session.open(graph, chosen.spinning)
    tries: list[dict[str, float | int | bool]] = [
        {"batch": choice.batch, "spinning": choice.spinning, "per_second": rate} for choice, rate in best.items()
    ]
    return chosen, tries


class _Worker:
    """The other end: what the process does."""

    def __init__(self) -> None:
        self._session: Any = None

    def open(self, graph: Path, spinning: bool) -> None:
        from clipsearch.encoders.runtime import onnxruntime

        ort = onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        # The session before goes first, or two thread pools would share the cores.
        self._session = None
        self._session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_inputs()]

    def run(self, batches: list[Batch], seconds: float) -> list[float]:
        for batch in batches:  # the first run of a shape allocates
            self._once(batch)
        spent, rounds = np.zeros(len(batches)), 0
        while spent.sum() < seconds:
            spent += [self._once(batch) for batch in batches]
            rounds += 1
        costs: list[float] = (spent / [rounds * len(batch) for batch in batches]).tolist()
        return costs

    def latencies(self, batches: list[Batch]) -> list[float]:
        return [self._once(batch) for batch in batches]

    def compute(self, batch: Batch) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self._session.run(None, self._feed(batch))[0]
        return vectors

    def _once(self, batch: Batch) -> float:
        feed = self._feed(batch)
        started = time.perf_counter()
        self._session.run(None, feed)
        return time.perf_counter() - started

    def _feed(self, batch: Batch) -> dict[str, Batch]:
        """Return the inputs of a run; all of a batch is computed, whether it pads or not."""
        from clipsearch.encoders.packing import every_place

        places = every_place(*batch.shape) if len(self._names) > 1 else {}
        return {self._names[0]: batch, **places}


def _work(connection: Connection) -> None:
    worker = _Worker()
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            answer: tuple[str | None, Any] = (None, getattr(worker, method)(*arguments))
        except Exception as error:  # noqa: BLE001  # told to the other end, which raises it
            answer = (f"{type(error).__name__}: {error}", None)
        connection.send(answer)
