"""Long jobs: started by one call, watched by others."""

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.errors import Cancelled, ClipsearchError, ComputeFailed, OperationNotFound
from clipsearch.index.manifest import IndexManifest

logger = logging.getLogger(__name__)

# What the layer above needs of the layers below.
__all__ = ["IndexManifest", "Operation", "Operations"]

KEPT = 100
"""Finished operations that can still be asked for; the oldest are forgotten."""

Report = Callable[[str, int, int], None]


@dataclass(slots=True)
class Operation:
    """One job. ``result`` or ``error`` is there once ``done`` is set; ``started`` is Unix time in seconds."""

    name: str
    collection: str
    started: float = field(default_factory=time.time)
    stage: str = "reading"
    done_steps: int = 0
    total_steps: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    result: IndexManifest | None = None
    error: ClipsearchError | None = None

    def report(self, stage: str, done: int, total: int) -> None:
        """Note how far the job is; raises Cancelled where somebody asked for that."""
        if self.cancelled.is_set():
            raise Cancelled("the operation was cancelled")
        self.stage, self.done_steps, self.total_steps = stage, done, total


class Operations:
    """Rebuilds, each on a thread of its own. Thread-safe."""

    def __init__(self, data: DataDirectory, rebuild: Callable[[str, Report], IndexManifest]) -> None:
        """``rebuild`` builds the index of a collection anew, reports, and returns its manifest."""
        self._data, self._rebuild = data, rebuild
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Operation] = OrderedDict()

    def rebuild(self, collection: str) -> Operation:
        """Start to build an index anew; raises CollectionNotFound or RebuildRunning."""
        name = collection or DEFAULT
        self._data.collection(name).check_not_rebuilding()
        operation = Operation(f"operations/rebuild-{name}-{uuid.uuid4().hex[:12]}", name)
        with self._lock:
            self._known[operation.name] = operation
            finished = [key for key, known in self._known.items() if known.done.is_set()]
            for key in finished[: max(0, len(self._known) - KEPT)]:
                del self._known[key]
        threading.Thread(target=self._run, args=(operation,), name=operation.name, daemon=True).start()
        return operation

    def _run(self, operation: Operation) -> None:
        try:
            operation.result = self._rebuild(operation.collection, operation.report)
        except ClipsearchError as error:
            operation.error = error
        except Exception:
            logger.exception("%s failed", operation.name)
            operation.error = ComputeFailed("the rebuild failed; the server's log has the details")
        finally:
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

    def cancel_all(self) -> None:
        """Ask every operation to stop, for a shutdown."""
        for operation in self.all():
            operation.cancelled.set()
