"""Callers that hang up: the short version of the script."""

import pytest

from .cancel_storm import FLAGS, run
from .served import Server, item_of


def test_what_is_hung_up_on_leaves_nothing_behind(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Server(tmp_path_factory.mktemp("storm") / "data", *FLAGS) as server:
        server.client.upsert([item_of(item, 0) for item in range(20)])
        done = run(server, 4000, 7)
    assert done.ends["CANCELLED"] >= 4000
    assert max(done.resident_kib[2:]) - min(done.resident_kib[2:]) < 20 * 1024, "of the many calls in flight, at most"
