"""A server on loopback that may be reached, and nothing else of this machine."""

from collections.abc import Iterator

import pytest

from clipsearch.fetch import FetchLimits
from tests.fetch_server import FetchServer

LOOPBACK = FetchLimits(
    max_bytes=100_000, total_timeout_s=20, read_timeout_s=10, retries=2, allow_networks=("127.0.0.1/32",)
)
PICTURE = b"\xff\xd8 pretend to be a picture " * 100


@pytest.fixture(name="server")
def _server() -> Iterator[FetchServer]:
    with FetchServer({"/good.jpg": PICTURE}) as server:
        yield server
