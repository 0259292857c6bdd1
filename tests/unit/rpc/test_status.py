"""Errors to statuses on the wire."""

import inspect

import pytest
from google.rpc import error_details_pb2

from clipsearch import errors
from clipsearch.rpc.status import INTERNAL_TEXT, to_status

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.ClipsearchError) and value.__module__ == errors.__name__
]


def unpack(status: object, kind: type) -> object | None:
    message = kind()
    return next((message for detail in status.details if detail.Unpack(message)), None)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", CLASSES, ids=[kind.__name__ for kind in CLASSES])
def test_every_error_has_a_code_a_stable_reason_and_says_whose_fault_it_is(kind: type[errors.ClipsearchError]) -> None:
    status = to_status(kind("what happened", metadata={"limit": "7"}))
    info = unpack(status, error_details_pb2.ErrorInfo)
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (kind.reason, "clipsearch", {"limit": "7"})
    assert kind.reason == kind.reason.upper()
    assert status.code == int(kind.code)
    assert kind.__doc__


def test_no_two_errors_share_a_reason() -> None:
    reasons = [kind.reason for kind in CLASSES]
    assert len(reasons) == len(set(reasons))


def test_a_bad_field_is_named_from_the_outside_in() -> None:
    error = errors.EmptyText("the text is empty", field="text").at("query").at("requests[3]")
    request = unpack(to_status(error), error_details_pb2.BadRequest)
    assert isinstance(request, error_details_pb2.BadRequest)
    violation = request.field_violations[0]
    assert (violation.field, violation.description) == ("requests[3].query.text", "the text is empty")


def test_a_wait_is_told_to_the_millisecond() -> None:
    retry = unpack(to_status(errors.QueueFull("full", retry_after_s=2.25)), error_details_pb2.RetryInfo)
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (2, 250_000_000)


def test_an_unforeseen_exception_tells_the_caller_nothing_of_its_text() -> None:
    status = to_status(ValueError("the caller's secret"))
    assert (status.code, status.message) == (int(errors.Code.INTERNAL), INTERNAL_TEXT)
    assert "secret" not in str(status)
