"""Page tokens: what goes in comes out, for the same search only."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.errors import BadPageToken
from clipsearch.services.paging import Before, before_of, mark_of, token_of

MARK = mark_of(("default", "a red dress"))


def before(rows: list[int], newest: int) -> Before:
    return Before(newest, np.array(rows, dtype=np.int64))


@given(st.sets(st.integers(0, 2**40), max_size=60), st.integers(0, 2**40))
def test_a_token_brings_back_what_it_was_made_of(rows: set[int], more: int) -> None:
    newest = max(rows, default=-1) + more
    found = before_of(token_of(before(sorted(rows), newest), MARK), MARK)
    assert (found.newest, found.rows.tolist()) == (newest, sorted(rows))


@pytest.mark.parametrize("step", [255, 256, 65_535, 65_536, 2**32 - 1, 2**32])
def test_every_width_of_step_is_kept(step: int) -> None:
    found = before_of(token_of(before([7, 7 + step], 8 + step), MARK), MARK)
    assert found.rows.tolist() == [7, 7 + step]


def test_ten_hits_of_a_million_take_a_short_token() -> None:
    assert len(token_of(before(list(range(5, 10**6, 10**5)), 10**6), MARK)) <= 100


def test_a_page_adds_its_rows_in_any_order() -> None:
    assert before([3, 9], 20).shown(np.array([17, 1, 4])).rows.tolist() == [1, 3, 4, 9, 17]


@pytest.mark.parametrize("other", [("default", "a blue dress"), ("other", "a red dress"), ("default", b"a red dress")])
def test_another_search_has_another_mark(other: object) -> None:
    with pytest.raises(BadPageToken, match="another search"):
        before_of(token_of(before([1], 1), MARK), mark_of(other))


def broken_tokens() -> list[str]:
    token = token_of(before([1, 5, 900], 1000), MARK)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    return [
        "!",
        "é",
        "nonsense",
        token[:-4],
        token + "AAAA",
        base64.urlsafe_b64encode(b"\2" + raw[1:]).decode(),
        base64.urlsafe_b64encode(raw[:1] + b"\x09" + raw[2:]).decode(),
        token_of(before([1, 5, 2000], 1000), MARK),  # newer than the newest
        token_of(before([-3, 5], 1000), MARK),
    ]


@pytest.mark.parametrize("token", broken_tokens())
def test_a_token_that_is_not_whole_is_refused(token: str) -> None:
    with pytest.raises(BadPageToken) as caught:
        before_of(token, MARK)
    assert caught.value.field == "page_token"
