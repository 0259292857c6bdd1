"""The state never says more than was acknowledged."""

from pathlib import Path

import pytest

from clipsearch.errors import ConfigError
from clipsearch.ingest.state import Acknowledged, Key, State, Status

KEY = Key("localhost:1", "default", "/photos")


def acknowledged(item_id: str, seq: int = 1) -> Acknowledged:
    return Acknowledged(item_id, "stamp", b"content", b"description", seq)


def status(state: State, item_id: str) -> Status | None:
    entry = state.find(item_id)
    return None if entry is None else entry.status


def test_an_item_goes_from_seen_over_sent_to_stored(tmp_path: Path) -> None:
    with State(tmp_path, KEY) as state:
        state.see("a")
        assert status(state, "a") is Status.SEEN
        state.sending(["a"])
        assert status(state, "a") is Status.SENT
        state.stored([acknowledged("a")])
        entry = state.find("a")
    assert entry is not None
    assert (entry.status, entry.stamp, entry.content) == (Status.STORED, "stamp", b"content")


def test_sending_again_takes_back_what_was_claimed(tmp_path: Path) -> None:
    with State(tmp_path, KEY) as state:
        state.see("a")
        state.sending(["a"])
        state.stored([acknowledged("a")])
        state.sending(["a"])
    with State(tmp_path, KEY) as state:
        entry = state.find("a")
        assert entry is not None
        assert (entry.status, entry.content, entry.stamp) == (Status.SENT, None, None)
        assert state.held() == 1, "the server may have it"


def test_what_was_refused_and_never_there_is_not_held(tmp_path: Path) -> None:
    with State(tmp_path, KEY) as state:
        for item_id in ("new", "old"):
            state.see(item_id)
        state.sending(["old"])
        state.stored([acknowledged("old")])
        state.sending(["new", "old"])
        state.refused(["new", "old"])
        assert status(state, "new") is Status.SEEN
        assert status(state, "old") is Status.SENT
        assert state.held() == 1


def test_what_a_run_has_not_met_is_gone(tmp_path: Path) -> None:
    with State(tmp_path, KEY) as state:
        for item_id in "abc":
            state.see(item_id)
        state.sending("abc")
        state.stored([acknowledged(item_id) for item_id in "abc"])
        assert state.gone_items() == 0
        state.next_run()
        state.see("b")
        assert state.gone(10) == ["a", "c"]
        assert state.gone(10, after="a") == ["c"]
        state.removed(["a", "c"])
        assert state.gone_items() == 0


def test_only_items_as_they_were_listed_are_believed(tmp_path: Path) -> None:
    with State(tmp_path, KEY) as state:
        for number, item_id in enumerate("abc"):
            state.see(item_id)
            state.sending([item_id])
            state.stored([acknowledged(item_id, number)])
        assert state.believe_only([("a", 0), ("b", 9)]) == 2
        assert [status(state, item_id) for item_id in "abc"] == [Status.STORED, Status.SENT, Status.SENT]


def test_paths_below_a_directory(tmp_path: Path) -> None:
    with State(tmp_path, KEY) as state:
        names = ["a", "a/x.jpg", "a/b/y.jpg", "ab/z.jpg", "a0"]
        for name in names:
            state.see(name)
        state.sending(names)
        assert state.below("a") == ["a", "a/b/y.jpg", "a/x.jpg"]


def test_a_dry_run_works_on_a_copy(tmp_path: Path) -> None:
    with State(tmp_path, KEY) as state:
        state.see("a")
    with State(tmp_path, KEY, dry=True) as state:
        assert status(state, "a") is Status.SEEN
        state.see("b")
    with State(tmp_path, KEY) as state:
        assert state.find("b") is None


def test_other_sources_of_the_collection_are_found_and_those_of_others_not(tmp_path: Path) -> None:
    for key, item_id in (
        (Key("localhost:1", "default", "/other"), "a"),
        (Key("localhost:1", "elsewhere", "/other"), "b"),
        (Key("localhost:2", "default", "/other"), "c"),
    ):
        with State(tmp_path, key) as state:
            state.see(item_id)
            state.sending([item_id])
    with State(tmp_path, KEY) as state:
        held = [(other.source, other.holds(["a", "b", "c"])) for other in state.others()]
    assert held == [("/other", {"a"})]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with State(tmp_path, KEY), pytest.raises(ConfigError, match="being ingested by another process"):
        State(tmp_path, KEY)
    with State(tmp_path, KEY):
        pass


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    with State(tmp_path, KEY) as state:
        state._db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="version 99"):
        State(tmp_path, KEY)
