"""Searches, writes and rebuilds at once: the short version of the script, and that it would see what is wrong."""

from pathlib import Path

import pytest

from .concurrent_load import KINDS, run_load, summary
from .history import History, Seen, check
from .served import Server


def test_no_call_fails_and_every_answer_is_of_one_state(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        run = run_load(server, seed=1, seconds=2.0)
        assert not server.troubles()
    summed = summary(run)
    assert {seen.kind for seen in run.seen} == set(KINDS)
    assert summed["nearest_found"] == 1.0, "a flat index is exact"
    assert len(run.times_s["rebuild"]) >= 5


@pytest.mark.parametrize(
    "seen",
    [
        Seen("too old", 2, {1: 1, 2: 2}),
        Seen("too new", 1, {1: 2, 2: 1}),
        Seen("mixed", 2, {1: 2, 2: 1}),
        Seen("deleted", 3, {1: 2}),
        Seen("too little", 2, {1: 2}, whole=True),
        Seen("excluded", 2, {1: 2, 2: 2}, without=frozenset({1})),
    ],
    ids=lambda seen: seen.kind,
)
def test_an_answer_of_no_state_is_seen(seen: Seen) -> None:
    history = History()
    history.note(1, {1: 1, 2: 1})
    history.note(2, {1: 2, 2: 2})
    history.note(3, {2: 2})
    with pytest.raises(AssertionError, match=seen.kind):
        check(seen, [history])
