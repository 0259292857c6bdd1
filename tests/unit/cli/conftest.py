from collections.abc import Iterator

import pytest

from tests.unit.client.fake_server import Fake, start


@pytest.fixture
def fake() -> Iterator[Fake]:
    fake = Fake()
    server = start(fake)
    yield fake
    server.stop(0).wait()
