"""Jobs of a kind of the test's own: what is told about them, and how they end."""

import threading
from dataclasses import dataclass

import pytest

from clipsearch.errors import Cancelled, OperationNotFound, OperationRunning, StorageFull
from clipsearch.services.build_report import Report
from clipsearch.services.operations import Operation, Operations

PATIENCE_S = 20


@dataclass(frozen=True)
class Counting:
    subject: str
    kind: str = "count"


class Steps:
    """A job that reports a step each time it is let go on."""

    def __init__(self) -> None:
        self.go, self.reported = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, report: Report) -> int:
        for step in range(3):
            report("counting", step, 3)
            self.reported.release()
            assert self.go.acquire(timeout=PATIENCE_S)
        return 3

    def let_go(self) -> None:
        self.go.release(3)


def finished(operation: Operation) -> Operation:
    assert operation.done.wait(PATIENCE_S)
    return operation


def test_a_job_tells_where_it_is_and_what_it_gave() -> None:
    operations, steps = Operations(), Steps()
    operation = operations.start(Counting("a"), steps)
    for step in range(3):
        assert steps.reported.acquire(timeout=PATIENCE_S)
        assert (operation.stage, operation.done_steps, operation.total_steps) == ("counting", step, 3)
        assert not operation.done.is_set()
        steps.go.release()
    assert finished(operation).result == 3 and operation.error is None
    assert operations.get(operation.name) is operation
    operations.forget(operation.name)
    with pytest.raises(OperationNotFound):
        operations.get(operation.name)


def test_one_at_a_time_works_on_a_subject() -> None:
    operations, steps, other = Operations(), Steps(), Steps()
    first = operations.start(Counting("a"), steps)
    with pytest.raises(OperationRunning) as caught:
        operations.start(Counting("a"), steps)
    assert caught.value.metadata == {"operation": first.name}
    second = operations.start(Counting("b"), other)
    steps.let_go()
    other.let_go()
    assert (finished(first).result, finished(second).result) == (3, 3)
    steps.let_go()
    assert finished(operations.start(Counting("a"), steps)).result == 3


def test_a_cancelled_job_ends_at_its_next_step() -> None:
    operations, steps = Operations(), Steps()
    operation = operations.start(Counting("a"), steps)
    assert steps.reported.acquire(timeout=PATIENCE_S)
    operations.cancel(operation.name)
    steps.let_go()
    assert isinstance(finished(operation).error, Cancelled) and operation.result is None


def test_what_a_job_raises_is_its_error_and_what_was_not_foreseen_is_not_shown() -> None:
    def full(report: Report) -> None:
        raise StorageFull("no room")

    def broken(report: Report) -> None:
        raise ValueError("a secret")

    operations = Operations()
    assert isinstance(finished(operations.start(Counting("a"), full)).error, StorageFull)
    error = finished(operations.start(Counting("a"), broken)).error
    assert error is not None and error.reason == "COMPUTE_FAILED" and "secret" not in error.message


def test_closing_ends_forgotten_jobs_too_and_those_that_come_late() -> None:
    operations, steps = Operations(), Steps()
    operation = operations.start(Counting("a"), steps)
    operations.forget(operation.name)
    steps.let_go()
    operations.close()
    assert operation.done.is_set()
    assert isinstance(finished(operations.start(Counting("a"), steps)).error, Cancelled)
