"""Request ids: whose they are, and what they may look like."""

import pytest

from clipsearch.telemetry.requests import given_id, id_maker


@pytest.mark.parametrize("value", ["a", "A-1.b_c:d/e+f=g@h", "x" * 128])
def test_a_callers_id_is_kept(value: str) -> None:
    assert given_id([("user-agent", "test"), ("x-request-id", value)]) == value


@pytest.mark.parametrize("value", ["", "x" * 129, "two words", "line\nbreak", "\x1b[31m", "ünicode", b"bytes"])
def test_one_that_could_forge_a_line_is_not(value: str | bytes) -> None:
    assert given_id([("x-request-id", value)]) is None


def test_none_is_none() -> None:
    assert given_id([("user-agent", "test")]) is None


def test_made_ids_differ_within_a_process_and_between_two() -> None:
    first, second = id_maker(), id_maker()
    made = [first(), first(), second(), second()]
    assert len(set(made)) == 4
    assert all(given_id([("x-request-id", one)]) == one for one in made)
