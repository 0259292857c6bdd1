"""What the tests of ``clipsearch ingest`` stand on, wherever they are: a server without items, and a desk at it."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsearch.settings import Settings
from tests.integration.ingesting import Desk
from tests.integration.support import SAMPLE_BUNDLE, Running

# Hundreds of servers are started here, and a process more for each would take minutes. Fronts are tested by
# tests/integration/test_fronts.py, and by all that calls the session's server.
os.environ.setdefault("CLIPSEARCH_FRONTS", "0")


@pytest.fixture(scope="session")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the sample model; each of its callers makes a collection of its own."""
    data = tmp_path_factory.mktemp("empty-server")
    with Running(Settings(bundle=SAMPLE_BUNDLE, data=data, listen="127.0.0.1:0", device="cpu")) as running:
        yield running


@pytest.fixture
def desk(empty_server: Running, tmp_path: Path) -> Desk:
    """A collection of its own, not made yet."""
    return Desk(empty_server.address, f"c{uuid.uuid4().hex}", tmp_path)
