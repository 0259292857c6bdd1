"""Long jobs: started by one call, watched by others.

What a job does is its own business: it is a function that is given a way to report, run on a thread of its own. What
it is about and what it gives are plain values of the job's own types, which ``rpc`` knows how to put on the wire. So
another kind of job changes nothing here.
"""

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Protocol

from clipsearch.errors import Cancelled, ClipsearchError, ComputeFailed, OperationNotFound, OperationRunning
from clipsearch.services.build_report import Report

logger = logging.getLogger(__name__)

KEPT = 100
"""Finished operations that can still be asked for; the oldest are forgotten."""


class About(Protocol):
    """What an operation is about: its parameters, as its own dataclass."""

    @property
    def kind(self) -> str:
        """A word for the kind of operation, part of its name."""
        ...

    @property
    def subject(self) -> str:
        """What no two operations of the kind may work on at once, such as a collection."""
        ...


Work = Callable[[Report], object]
"""Does the job, reporting now and then, and returns its result."""


@dataclass(slots=True)
class Operation:
    """One job. ``result`` or ``error`` is there once ``done`` is set; ``started`` is Unix time in seconds."""

    name: str
    about: About
    started: float = field(default_factory=time.time)
    stage: str = "reading"
    done_steps: int = 0
    total_steps: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    result: object = None
    error: ClipsearchError | None = None

    def report(self, stage: str, done: int, total: int) -> None:
        """Note how far the job is; raises Cancelled where somebody asked for that."""
        if self.cancelled.is_set():
            raise Cancelled("the operation was cancelled")
        self.stage, self.done_steps, self.total_steps = stage, done, total


class Operations:
    """The jobs that run and those that ran, each on a thread of its own. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Operation] = OrderedDict()
        self._running: dict[str, tuple[Operation, threading.Thread]] = {}
        self._closed = False

    def start(self, about: About, work: Work) -> Operation:
        """Start a job; raises OperationRunning where one of its kind works on the same subject."""
        operation = Operation(f"operations/{about.kind}-{about.subject}-{uuid.uuid4().hex[:12]}", about)
        # In the context of the call, so that what the job logs names the request that asked for it.
        run = copy_context().run
        thread = threading.Thread(target=run, args=(self._run, operation, work), name=operation.name, daemon=True)
        with self._lock:
            if self._closed:
                operation.cancelled.set()
            for other, _ in self._running.values():
                if (other.about.kind, other.about.subject) == (about.kind, about.subject):
                    raise OperationRunning(
                        f"another {about.kind} of {about.subject} is running", metadata={"operation": other.name}
                    )
            self._known[operation.name] = operation
            finished = [key for key, known in self._known.items() if known.done.is_set()]
            for key in finished[: max(0, len(self._known) - KEPT)]:
                del self._known[key]
            self._running[operation.name] = operation, thread
            thread.start()
        return operation

    def _run(self, operation: Operation, work: Work) -> None:
        try:
            operation.result = work(operation.report)
        except ClipsearchError as error:
            operation.error = _alone(error)
        except Exception:
            logger.exception("%s failed", operation.name)
            operation.error = ComputeFailed("the operation failed; the server's log has the details")
        finally:
            # Before ``done``: whoever has seen it end may start the next one.
            with self._lock:
                del self._running[operation.name]
            operation.done.set()

    def get(self, name: str) -> Operation:
        """Return an operation; raises OperationNotFound."""
        with self._lock:
            try:
                return self._known[name]
            except KeyError:
                raise OperationNotFound("there is no such operation", metadata={"name": name}) from None

    def all(self) -> list[Operation]:
        """Return all operations that are known, the oldest first."""
        with self._lock:
            return list(self._known.values())

    def cancel(self, name: str) -> None:
        """Ask an operation to stop at its next step; without effect on one that is done."""
        self.get(name).cancelled.set()

    def forget(self, name: str) -> None:
        """Stop remembering an operation; one that runs goes on."""
        self.get(name)
        with self._lock:
            self._known.pop(name, None)

    def close(self) -> None:
        """Cancel every operation, those that nobody remembers as well, and wait until they have stopped.

        One that is started later is cancelled at its first step.
        """
        with self._lock:
            self._closed = True
            running = list(self._running.values())
        for operation, _ in running:
            operation.cancelled.set()
        for _, thread in running:
            thread.join()


def _alone(error: ClipsearchError) -> ClipsearchError:
    """Cut an error loose from the frames it came through: it is kept for long, and they may hold a model."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
