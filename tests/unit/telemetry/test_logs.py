"""Lines of the log: their shape, the request they belong to, and whose words are not in them."""

import contextvars
import json
import logging

import pytest

from clipsearch.errors import BadVector, ComputeFailed
from clipsearch.telemetry.logs import JsonFormatter, TextFormatter, access_log
from clipsearch.telemetry.requests import enter

SECRET = "what a caller wrote"


def record(message: str = "hello", error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("clipsearch.part", logging.WARNING, "part.py", 7, message, (), info)
    made.__dict__.update(extra)
    return made


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """The error with the traceback that raising it leaves."""
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


def within(request_id: str, formatter: logging.Formatter, one: logging.LogRecord) -> str:
    """The line as something that works for a request would log it."""

    def run() -> str:
        enter(request_id)
        return formatter.format(one)

    return contextvars.copy_context().run(run)


def test_json_is_one_object_on_one_line() -> None:
    line = JsonFormatter().format(record("two\nlines"))
    assert "\n" not in line
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {"level": "warning", "logger": "clipsearch.part", "message": "two\nlines"}


def test_both_name_the_request_and_only_inside_of_one() -> None:
    assert json.loads(within("r-1", JsonFormatter(), record()))["request_id"] == "r-1"
    assert "request_id" not in json.loads(JsonFormatter().format(record()))
    assert within("r-1", TextFormatter(), record()).endswith("WARNING clipsearch.part [r-1]: hello")
    assert TextFormatter().format(record()).endswith("WARNING clipsearch.part: hello")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
@pytest.mark.parametrize(
    "error",
    [ValueError(SECRET), BadVector(SECRET), KeyError(SECRET), ExceptionGroup(SECRET, [ValueError(SECRET)])],
    ids=lambda error: type(error).__name__,
)
def test_the_text_of_an_exception_that_may_quote_a_caller_is_left_out(
    formatter: logging.Formatter, error: Exception
) -> None:
    line = formatter.format(record("it failed", raised(error)))
    assert SECRET not in line
    assert type(error).__name__ in line
    assert __file__.rpartition("/")[2] in line, "the traceback is there"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_what_the_server_and_the_system_say_is_there_with_its_cause(formatter: logging.Formatter) -> None:
    error = raised(ComputeFailed("the text stage failed"), raised(OSError(28, "No space left on device")))
    line = formatter.format(record("it failed", error))
    assert line.index("No space left on device") < line.index("the text stage failed")


def test_stacks_of_a_watchdog_are_there() -> None:
    assert json.loads(JsonFormatter().format(record(stacks="Thread 1")))["stack"] == "Thread 1"
    assert TextFormatter().format(record(stacks="Thread 1")).endswith("\nThread 1")


def test_an_access_line_has_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "clipsearch.access"):
        access_log("Search", "OK", "", 0.0123456)
        access_log("GetItem", "NOT_FOUND", "ITEM_NOT_FOUND", 0.001)
    first, second = (json.loads(JsonFormatter().format(one)) for one in caplog.records)
    assert (first["message"], first["method"], first["duration_ms"]) == ("Search OK in 12.35 ms", "Search", 12.346)
    assert "reason" not in first
    assert (second["code"], second["reason"]) == ("NOT_FOUND", "ITEM_NOT_FOUND")
