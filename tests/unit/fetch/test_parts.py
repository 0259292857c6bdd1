"""Limits, back-off and what counts as a URL."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from clipsearch.errors import ConfigError
from clipsearch.fetch import FetchLimits, is_url
from clipsearch.fetch.errors import InvalidUrl
from clipsearch.fetch.retry import FIRST_WAIT_S, LONGEST_WAIT_S, retry_after, wait_before
from clipsearch.fetch.urls import masked, parse

NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0},
        {"concurrency": 0},
        {"per_host_concurrency": -1},
        {"retries": -1},
        {"max_redirects": -1},
        {"connect_timeout_s": 0.0},
        {"total_timeout_s": float("nan")},
        {"read_timeout_s": float("inf")},
        {"user_agent": ""},
        {"user_agent": "a\r\nX-Injected: 1"},
        {"allow_networks": ("10.0.0.1/8",)},
        {"allow_networks": ("intranet",)},
    ],
    ids=str,
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as raised:
        FetchLimits(**wrong)
    assert raised.value.field == next(iter(wrong))


def test_limits_may_forbid_retries_and_redirects() -> None:
    assert FetchLimits(retries=0, max_redirects=0).retries == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 5 ", 5.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


def test_waits_grow_within_their_bounds() -> None:
    jitter = random.Random(7)
    longest = [max(wait_before(attempt, None, jitter) or 0 for _ in range(500)) for attempt in range(1, 9)]
    assert longest[0] <= FIRST_WAIT_S < longest[1] <= 2 * FIRST_WAIT_S < longest[2]
    assert max(longest) <= LONGEST_WAIT_S
    assert wait_before(1, 1e6, jitter) is None


@pytest.mark.parametrize(
    "text",
    ["", "a.jpg", "/a/b", "//host/a", "http:", "http:///x", "http://h:0/", "http://h/\x00", "http://h/" + "x" * 9000],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(InvalidUrl):
        parse(text)


def test_a_value_is_a_url_or_a_path() -> None:
    assert is_url("https://h/a")
    assert is_url("HTTP://h/a")
    assert not is_url("photos/a.jpg")
    assert not is_url("ftp://h/a")


def test_masked_urls_show_where_and_no_secret() -> None:
    assert masked(parse("https://u:p@h.test:8443/a/b.jpg?key=1#f")) == "https://***@h.test:8443/a/b.jpg?***"
    assert masked(parse("http://[2001:db8::1]/a")) == "http://[2001:db8::1]/a"
