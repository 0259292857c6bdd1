"""SearchService over the wire: the sample model and an index of rendered products."""

import json
from pathlib import Path

import grpc
import numpy as np
import pytest

from clipsearch.encoders.load import load_encoders
from clipsearch.v1 import common_pb2 as common
from clipsearch.v1 import embedding_pb2 as embedding
from clipsearch.v1 import search_pb2 as pb
from clipsearch.v1.embedding_pb2_grpc import EmbeddingServiceStub
from clipsearch.v1.search_pb2_grpc import SearchServiceStub
from tests.integration.support import ITEMS, SAMPLE_BUNDLE


@pytest.fixture(name="stub")
def _stub(channel: grpc.Channel) -> SearchServiceStub:
    return SearchServiceStub(channel)


@pytest.fixture(scope="module", name="gallery")
def _gallery(catalogue: Path) -> tuple[list[str], np.ndarray]:
    """Every product's id and vector, embedded without a server."""
    encoders = load_encoders(SAMPLE_BUNDLE)
    rows = [json.loads(line) for line in (catalogue / "metadata.jsonl").read_text().splitlines()]
    pixels = [encoders.preprocessor((catalogue / row["image"]).read_bytes()) for row in rows]
    return [row["id"] for row in rows], encoders.image.encode(pixels)


def query_vector(vector: np.ndarray) -> pb.Query:
    return pb.Query(vector=common.Embedding(float32=common.FloatVector(values=vector.tolist())))


def exact(gallery: tuple[list[str], np.ndarray], vector: np.ndarray, k: int) -> list[tuple[str, float]]:
    ids, vectors = gallery
    scores = vectors @ (vector / np.linalg.norm(vector))
    best = np.argsort(-scores, kind="stable")[:k]
    return [(ids[i], float(scores[i])) for i in best]


def agrees(hits: list[pb.Hit], expected: list[tuple[str, float]]) -> None:
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=2e-3)
    assert len({hit.id for hit in hits} & {id_ for id_, _ in expected}) >= len(expected) - 1, "ties may swap at the end"
    assert hits[0].id == expected[0][0] or hits[0].score - expected[1][1] < 2e-3


def test_search_by_text_is_exact_search_with_the_texts_embedding(
    stub: SearchServiceStub, channel: grpc.Channel, gallery: tuple[list[str], np.ndarray]
) -> None:
    response = stub.Search(pb.SearchRequest(query=pb.Query(text="a red dress"), top_k=10))
    embedded = EmbeddingServiceStub(channel).EmbedText(embedding.EmbedTextRequest(text="a red dress"))
    agrees(list(response.hits), exact(gallery, np.array(embedded.embedding.float32.values), 10))
    assert response.timings.encode_us > 0
    assert response.timings.search_us > 0
    assert not response.truncated


def test_search_by_picture_finds_that_picture(stub: SearchServiceStub, catalogue: Path) -> None:
    rows = [json.loads(line) for line in (catalogue / "metadata.jsonl").read_text().splitlines()]
    for row in rows[::40]:
        data = (catalogue / row["image"]).read_bytes()
        hit = stub.Search(pb.SearchRequest(query=pb.Query(image=data), top_k=1)).hits[0]
        assert (hit.id, hit.score) == (row["id"], pytest.approx(1.0, abs=2e-3))


def test_search_by_vector_normalises_it(stub: SearchServiceStub, gallery: tuple[list[str], np.ndarray]) -> None:
    vector = 37.0 * gallery[1][5]
    agrees(list(stub.Search(pb.SearchRequest(query=query_vector(vector), top_k=7)).hits), exact(gallery, vector, 7))


def test_search_by_half_precision_vector(stub: SearchServiceStub, gallery: tuple[list[str], np.ndarray]) -> None:
    query = pb.Query(vector=common.Embedding(float16=gallery[1][5].astype("<f2").tobytes()))
    assert stub.Search(pb.SearchRequest(query=query, top_k=1)).hits[0].id == gallery[0][5]


def test_search_by_item_uses_its_stored_vector(stub: SearchServiceStub, gallery: tuple[list[str], np.ndarray]) -> None:
    response = stub.Search(pb.SearchRequest(query=pb.Query(item_id=gallery[0][9]), top_k=6))
    agrees(list(response.hits), exact(gallery, gallery[1][9], 6))


def test_top_k_is_ten_unless_given_and_never_more_than_there_are(stub: SearchServiceStub) -> None:
    query = pb.Query(text="shoes")
    assert len(stub.Search(pb.SearchRequest(query=query)).hits) == 10
    assert len(stub.Search(pb.SearchRequest(query=query, top_k=50)).hits) == min(50, ITEMS)


def test_the_view_decides_what_comes_back(
    stub: SearchServiceStub, catalogue: Path, gallery: tuple[list[str], np.ndarray]
) -> None:
    by_id = {row["id"]: row for row in map(json.loads, (catalogue / "metadata.jsonl").read_text().splitlines())}
    query = pb.Query(text="a handbag")
    basic = stub.Search(pb.SearchRequest(query=query, top_k=3)).hits
    assert all(not hit.HasField("metadata") and not hit.HasField("embedding") for hit in basic)
    for hit in stub.Search(pb.SearchRequest(query=query, top_k=3, view=pb.VIEW_METADATA)).hits:
        assert hit.metadata["title"] == by_id[hit.id]["title"]
        assert hit.metadata["price"] == pytest.approx(by_id[hit.id]["price"])
        assert not hit.HasField("embedding")
    for hit in stub.Search(pb.SearchRequest(query=query, top_k=3, view=pb.VIEW_FULL)).hits:
        vector = gallery[1][gallery[0].index(hit.id)]
        np.testing.assert_allclose(np.array(hit.embedding.float32.values), vector, atol=2e-3)


def test_a_batch_mixes_kinds_and_keeps_errors_apart(
    stub: SearchServiceStub, gallery: tuple[list[str], np.ndarray]
) -> None:
    requests = [
        pb.SearchRequest(query=pb.Query(text="boots"), top_k=2),
        pb.SearchRequest(query=pb.Query(item_id="no such item")),
        pb.SearchRequest(query=query_vector(gallery[1][3]), top_k=4),
        pb.SearchRequest(query=pb.Query(text="boots"), top_k=0),
        pb.SearchRequest(query=pb.Query(item_id=gallery[0][3]), top_k=1),
        pb.SearchRequest(query=pb.Query(text="boots"), priority=77),  # type: ignore[arg-type]
    ]
    results = stub.BatchSearch(pb.BatchSearchRequest(requests=requests)).results
    assert [result.WhichOneof("result") for result in results] == [
        "response",
        "error",
        "response",
        "error",
        "response",
        "error",
    ]
    assert [len(results[i].response.hits) for i in (0, 2, 4)] == [2, 4, 1]
    assert results[2].response.hits[0].id == results[4].response.hits[0].id == gallery[0][3]
    assert results[1].error.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert "requests[3]" in str(results[3].error.details[1].value)


def test_an_over_long_text_is_cut_and_says_so(stub: SearchServiceStub) -> None:
    assert stub.Search(pb.SearchRequest(query=pb.Query(text="red " * 300), top_k=1)).truncated
