"""Ordinary traffic with writes and rebuilds: the short version of the script."""

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.harness.mixed import WEIGHTS

from .served import Server, add_background
from .soak import FLAGS, WRITES, soak


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("soak") / "data", *FLAGS) as server:
        add_background(server.client, 500)
        yield server


def test_nothing_goes_wrong_while_everything_happens_at_once(server: Server) -> None:
    done = asyncio.run(soak(server, 9.0, 60.0, 3))
    assert not done.wrong
    assert not server.troubles()
    assert done.rebuilds == 2
    assert set(done.calls) == {*WEIGHTS, *WRITES}, "every kind of call took part"
    assert len(done.resident_mib) >= 4
