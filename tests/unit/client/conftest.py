from collections.abc import Iterator

import pytest

from clipsearch.client import Client
from tests.unit.client.fake_server import Fake, start


@pytest.fixture
def fake() -> Iterator[Fake]:
    fake = Fake()
    server = start(fake)
    yield fake
    server.stop(0).wait()


@pytest.fixture
def client(fake: Fake) -> Iterator[Client]:
    with Client(fake.target, timeout=20) as client:
        yield client
