import grpc
import numpy as np
import pytest

from clipsearch.client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    Embedded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
    Query,
    RetryPolicy,
    SearchResult,
    Unavailable,
)
from tests.unit.client.fake_server import DIMENSION, METADATA, SEQUENCE_NUMBER, Fake, queue_full, vector_of


class Time:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_has_the_methods_of_the_blocking_client() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(AsyncClient) == public(Client)


async def test_single_calls(fake: Fake, tmp_path) -> None:
    picture = tmp_path / "p.png"
    picture.write_bytes(b"picture")
    async with AsyncClient(fake.target, timeout=20, transport="float16") as client:
        text = await client.embed_text("hat")
        image = await client.embed_image(picture)
        found = await client.search(image=picture, top_k=1, view="metadata")
        by_vector = await client.search(vector=text.vector, view="full")
        model = await client.model()
        assert await client.ready()
    np.testing.assert_allclose(text.vector, vector_of(b"hat"), atol=1e-3)
    np.testing.assert_allclose(image.vector, vector_of(b"picture"), atol=1e-3)
    assert [(hit.id, hit.metadata) for hit in found.hits] == [("hat", METADATA)]
    assert by_vector.hits[0].vector.shape == (DIMENSION,)
    assert model.dimension == DIMENSION
    assert fake.requests[2].query.image == b"picture"


async def test_errors_are_typed(fake: Fake) -> None:
    async with AsyncClient(fake.target) as client:
        with pytest.raises(InvalidArgument) as caught:
            await client.embed_text(" ")
        assert (caught.value.reason, caught.value.field) == ("TEXT_EMPTY", "text")
        assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)
        with pytest.raises(NotFound):
            await client.search(item_id="nobody")
        with pytest.raises(ValueError, match="exactly one"):
            await client.search()
        with fake.hanging(), pytest.raises(DeadlineExceeded):
            await client.embed_text("hat", timeout=0.05)


async def test_batches_from_either_kind_of_iterable(fake: Fake, tmp_path) -> None:
    items = ["a", " ", tmp_path / "missing.png", b"picture"]

    async def asynchronous():
        for item in items:
            yield item

    async with AsyncClient(fake.target) as client:
        for source in (items, asynchronous()):
            results = [result async for result in client.embed_batch(source, batch_size=2)]
            assert [type(r) for r in results] == [Embedded, InvalidArgument, InvalidArgument, Embedded]
            assert [len(request.inputs) for request in fake.requests] == [2, 1]
            fake.requests.clear()


async def test_search_by_terms_in_a_part_of_a_collection(fake: Fake, tmp_path) -> None:
    picture = tmp_path / "p.png"
    picture.write_bytes(b"picture")
    terms = [(Query(image=picture), 1.0), (Query(text="stripes"), -0.5)]
    part = {"collection": "shop", "filter": "price < 50", "exclude_ids": ["bag"], "min_score": 0.5}
    async with AsyncClient(fake.target) as client:
        found = await client.search(terms=terms, min_sequence_number=SEQUENCE_NUMBER, **part)
        results = client.search_batch([Query(terms=terms)], min_sequence_number=SEQUENCE_NUMBER + 1, **part)
        assert [type(result) for result in [result async for result in results]] == [FailedPrecondition]
    assert found.sequence_number == SEQUENCE_NUMBER
    for request in (fake.requests[0], fake.requests[1].requests[0]):
        assert (request.terms[0].query.image, request.terms[1].weight) == (b"picture", -0.5)
        assert (request.collection, request.filter) == ("shop", "price < 50")
        assert (list(request.exclude_ids), request.min_score) == (["bag"], 0.5)


async def test_search_batch(fake: Fake, tmp_path) -> None:
    queries = [Query(text="a"), Query(item_id="nobody"), Query(image=tmp_path / "missing.png"), Query(item_id="bag")]
    async with AsyncClient(fake.target) as client:
        results = [result async for result in client.search_batch(queries, top_k=1, batch_size=3)]
    assert [type(result) for result in results] == [SearchResult, NotFound, InvalidArgument, SearchResult]
    assert [len(request.requests) for request in fake.requests] == [2, 1]


async def test_full_server_is_asked_again_after_the_told_wait(fake: Fake) -> None:
    time = Time()
    fake.failures = [queue_full(3.0)]
    async with AsyncClient(fake.target, clock=time.clock, sleep=time.sleep) as client:
        await client.embed_text("hat")
        assert 3.0 <= time.slept[0] <= 3.1
        fake.failures = [queue_full(3.0)]
        with pytest.raises(Overloaded):
            await client.embed_text("hat", timeout=2)
    assert len(time.slept) == 1


async def test_no_server() -> None:
    policy = RetryPolicy(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.01)
    async with AsyncClient("127.0.0.1:1", retry=policy) as client:
        with pytest.raises(Unavailable):
            await client.search(text="hat")
        assert not await client.ready()


async def test_waiting_until_ready(fake: Fake) -> None:
    time = Time()
    fake.serving = [False, False, True]
    async with AsyncClient(fake.target, clock=time.clock, sleep=time.sleep) as client:
        await client.wait_until_ready(timeout=5)
        assert time.slept == [0.1, 0.1]
        fake.serving = [False]
        with pytest.raises(DeadlineExceeded, match="did not report SERVING within 1 s"):
            await client.wait_until_ready(timeout=1)
