"""Searches of the blocking client: queries, views, terms and parts of a collection."""

import numpy as np
import pytest

from clipsearch.client import Client, FailedPrecondition, InvalidArgument, NotFound, Query, SearchResult
from clipsearch.v1 import search_pb2
from tests.unit.client.fake_server import DIMENSION, METADATA, SEQUENCE_NUMBER, Fake, vector_of


def test_search_by_each_kind_of_query(client: Client, fake: Fake, tmp_path) -> None:
    picture = tmp_path / "p.jpg"
    picture.write_bytes(b"jpeg")
    vector = np.arange(DIMENSION, dtype=np.float64)
    client.search(text="hat")
    client.search(image=picture)
    client.search(image=b"jpeg")
    client.search(vector=vector)
    client.search(item_id="shoe")
    queries = [request.query for request in fake.requests]
    assert [query.WhichOneof("kind") for query in queries] == ["text", "image", "image", "vector", "item_id"]
    assert queries[1].image == queries[2].image == b"jpeg"
    assert list(queries[3].vector.float32.values) == vector.tolist()


def test_search_by_several_terms(client: Client, fake: Fake, tmp_path) -> None:
    picture = tmp_path / "p.jpg"
    picture.write_bytes(b"jpeg")
    terms = [(Query(text="red dress"), 1.0), (Query(text="stripes"), -0.5), (Query(image=picture), 2)]
    client.search(terms=terms)
    list(client.search_batch([Query(text="hat"), Query(terms=terms)]))
    single, batch = fake.requests
    for request in (single, batch.requests[1]):
        assert not request.HasField("query")
        assert [(term.query.text, term.weight) for term in request.terms[:2]] == [("red dress", 1.0), ("stripes", -0.5)]
        assert (request.terms[2].query.image, request.terms[2].weight) == (b"jpeg", 2.0)
    assert not batch.requests[0].terms


def test_search_in_a_part_of_a_collection(client: Client, fake: Fake) -> None:
    part = {
        "collection": "shop",
        "filter": "price < 50",
        "min_sequence_number": SEQUENCE_NUMBER,
        "min_score": 0.0,
    }
    assert client.search(text="hat", exclude_ids=iter(["bag", "shoe"]), **part).sequence_number == SEQUENCE_NUMBER
    results = client.search_batch([Query(text="a"), Query(text="b")], exclude_ids=iter(["bag", "shoe"]), **part)
    assert [result.sequence_number for result in results] == [SEQUENCE_NUMBER] * 2
    for request in (fake.requests[0], *fake.requests[1].requests):
        assert (request.collection, request.filter) == ("shop", "price < 50")
        assert request.min_sequence_number == SEQUENCE_NUMBER
        assert list(request.exclude_ids) == ["bag", "shoe"]
        assert request.HasField("min_score")


def test_pages_are_asked_for(client: Client, fake: Fake) -> None:
    first = client.search(text="hat", top_k=1, offset=0)
    assert fake.requests[0].HasField("offset")
    assert first.next_page_token
    second = client.search(text="hat", top_k=1, page_token=first.next_page_token)
    assert not fake.requests[1].HasField("offset")
    assert fake.requests[1].page_token == first.next_page_token
    assert second.next_page_token == ""
    assert client.search(text="hat", top_k=1).next_page_token == ""


def test_search_of_a_state_that_is_not_reached(client: Client) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        client.search(text="hat", min_sequence_number=SEQUENCE_NUMBER + 1)
    assert caught.value.reason == "SEQUENCE_NOT_REACHED"
    (result,) = client.search_batch([Query(text="hat")], min_sequence_number=SEQUENCE_NUMBER + 1)
    assert isinstance(result, FailedPrecondition)


def test_one_text_is_not_several_ids(client: Client, fake: Fake) -> None:
    with pytest.raises(TypeError, match="exclude_ids must be several texts"):
        client.search(text="hat", exclude_ids="bag")
    assert fake.requests == []


@pytest.mark.parametrize("view", ["basic", "metadata", "full"])
def test_search_returns_what_the_view_has(client: Client, view) -> None:
    found = client.search(text="hat", top_k=2, nprobe=3, view=view)
    assert [(hit.id, hit.score) for hit in found.hits] == [("hat", 1.0), ("shoe", 0.75)]
    assert found.timings.total_us == 9
    hit = found.hits[0]
    assert hit.metadata == (None if view == "basic" else METADATA)
    if hit.metadata is not None:
        assert isinstance(hit.metadata["price"], int)
    if view == "full":
        np.testing.assert_allclose(hit.vector, vector_of(b"hat"), rtol=1e-6)
    else:
        assert hit.vector is None


def test_search_leaves_defaults_to_the_server(client: Client, fake: Fake) -> None:
    assert len(client.search(text="hat").hits) == 3
    request = fake.requests[0]
    assert not request.HasField("top_k")
    assert not request.HasField("nprobe")
    assert not request.HasField("min_score")
    assert (request.collection, request.filter, request.min_sequence_number) == ("", "", 0)
    assert request.view == search_pb2.VIEW_BASIC


def test_search_batch(client: Client, fake: Fake, tmp_path) -> None:
    queries = [Query(text="a"), Query(item_id="nobody"), Query(image=tmp_path / "missing.png"), Query(item_id="bag")]
    results = list(client.search_batch(queries, top_k=1, view="metadata", batch_size=3))
    assert [type(result) for result in results] == [SearchResult, NotFound, InvalidArgument, SearchResult]
    assert results[0].hits[0].metadata == METADATA
    assert [len(request.requests) for request in fake.requests] == [2, 1]
    assert fake.requests[0].requests[0].top_k == 1
