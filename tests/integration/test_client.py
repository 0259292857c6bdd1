"""The client library against the real server: sample model, index of rendered products."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clipsearch.client import (
    AsyncClient,
    Client,
    ClientError,
    DeadlineExceeded,
    Embedded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Query,
    SearchResult,
    Unavailable,
)
from clipsearch.settings import Settings
from tests.integration.support import ITEMS, SAMPLE_BUNDLE, Running


@pytest.fixture(scope="module", name="client")
def _client(server: Running) -> Iterator[Client]:
    with Client(server.address) as client:
        client.wait_until_ready(timeout=30)
        yield client


@pytest.fixture(scope="module", name="products")
def _products(catalogue: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (catalogue / "metadata.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", name="pictures")
def _pictures(catalogue: Path, products: list[dict[str, object]]) -> list[Path]:
    return [catalogue / str(row["image"]) for row in products]


def test_model_and_vectors_agree(client: Client, pictures: list[Path]) -> None:
    model = client.model()
    text, image = client.embed_text("a red dress"), client.embed_image(pictures[0])
    for embedded in (text, image):
        assert embedded.vector.shape == (model.dimension,)
        assert np.linalg.norm(embedded.vector) == pytest.approx(1, abs=1e-3)
        assert embedded.timings.total_us >= embedded.timings.encode_us > 0
    assert client.embed_text("red " * 500).truncated


def test_half_precision_transport(server: Running, client: Client) -> None:
    with Client(server.address, transport="float16") as half:
        vector = half.embed_text("a blue hat").vector
    assert vector @ client.embed_text("a blue hat").vector == pytest.approx(1, abs=1e-3)


def test_a_picture_finds_itself_by_each_kind_of_query(
    client: Client, products: list[dict[str, object]], pictures: list[Path]
) -> None:
    item_id = str(products[7]["id"])
    vector = client.embed_image(pictures[7]).vector
    for query in (
        {"image": pictures[7]},
        {"image": pictures[7].read_bytes()},
        {"vector": 3 * vector},
        {"item_id": item_id},
    ):
        found = client.search(**query, top_k=3, view="full")
        assert len(found.hits) == 3
        scores = [hit.score for hit in found.hits]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == pytest.approx(1, abs=2e-3)
        same = next(hit for hit in found.hits if hit.id == item_id)
        assert same.metadata is not None
        assert same.metadata["title"] == products[7]["title"]
        assert same.vector is not None
        assert same.vector @ vector == pytest.approx(1, abs=2e-3)


def test_batch_of_texts_and_pictures(client: Client, pictures: list[Path], tmp_path: Path) -> None:
    items = ["a red dress", pictures[0], " ", b"not a picture", tmp_path / "missing.png", *pictures[1:40]]
    results = list(client.embed_batch(items, batch_size=16))
    assert len(results) == len(items)
    assert [r.reason for r in results if isinstance(r, ClientError)] == [
        "TEXT_EMPTY",
        "IMAGE_UNSUPPORTED_FORMAT",
        "FILE_UNREADABLE",
    ]
    single = client.embed_image(pictures[39])
    assert isinstance(results[-1], Embedded)
    assert results[-1].vector @ single.vector == pytest.approx(1, abs=1e-3)


def test_batches_over_the_servers_cap_are_refused(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        list(client.embed_batch(["a"] * 65, batch_size=65))
    assert (caught.value.reason, caught.value.field) == ("BATCH_TOO_LARGE", "inputs")


def test_stream(client: Client, pictures: list[Path]) -> None:
    items = [*enumerate(pictures), ("bad", b"nothing"), *((f"text {i}", f"product {i}") for i in range(300))]
    ordered = list(client.stream_embed(items, in_order=True))
    assert [key for key, _ in ordered] == [key for key, _ in items]
    unordered = dict(client.stream_embed(items, window=40))
    for key, result in ordered:
        if key == "bad":
            assert isinstance(result, InvalidArgument)
            assert result.reason == "IMAGE_UNSUPPORTED_FORMAT"
        else:
            assert isinstance(result, Embedded)
            assert result.vector @ unordered[key].vector == pytest.approx(1, abs=1e-3)


def test_search_batch(client: Client, pictures: list[Path]) -> None:
    queries = [Query(text="a red dress"), Query(item_id="nobody"), Query(vector=np.ones(3)), Query(image=pictures[0])]
    results = list(client.search_batch(queries, top_k=2))
    assert [type(result) for result in results] == [SearchResult, NotFound, InvalidArgument, SearchResult]
    assert [r.reason for r in results[1:3] if isinstance(r, ClientError)] == [
        "ITEM_NOT_FOUND",
        "VECTOR_WRONG_DIMENSION",
    ]


@pytest.mark.parametrize(
    ("arguments", "reason", "field"),
    [
        ({"text": ""}, "TEXT_EMPTY", "query.text"),
        ({"image": b""}, "IMAGE_EMPTY", "query.image"),
        ({"vector": np.array([np.nan] * 4)}, "VECTOR_WRONG_DIMENSION", "query.vector"),
        ({"text": "a", "top_k": 0}, "TOP_K_OUT_OF_RANGE", "top_k"),
    ],
)
def test_bad_input_says_where_and_why(client: Client, arguments, reason: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.search(**arguments)
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_deadline(client: Client, pictures: list[Path]) -> None:
    with pytest.raises(DeadlineExceeded):
        list(client.embed_batch(pictures[:64], timeout=0.002))
    assert client.ready()


async def test_async_client(server: Running, client: Client, pictures: list[Path]) -> None:
    async with AsyncClient(server.address) as own:
        await own.wait_until_ready(timeout=10)
        assert await own.model() == client.model()
        hits = (await own.search(text="a red dress", top_k=5, view="metadata")).hits
        assert [hit.id for hit in hits] == [hit.id for hit in client.search(text="a red dress", top_k=5).hits]
        results = [result async for result in own.embed_batch(pictures[:20], batch_size=8)]
        assert all(isinstance(result, Embedded) for result in results)
        streamed = [key async for key, _ in own.stream_embed(enumerate(pictures), in_order=True)]
        assert streamed == list(range(ITEMS))


def test_server_without_an_index_and_gone() -> None:
    settings = Settings(bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu", grace_s=0.1)
    with Running(settings) as running:
        client = Client(running.address)
        client.wait_until_ready(timeout=30)
        with pytest.raises(FailedPrecondition) as caught:
            client.search(text="a")
        assert caught.value.reason == "NO_INDEX"
        stream = client.stream_embed((i, f"text {i}") for i in range(1_000_000))
        assert next(stream)
    started = time.monotonic()
    with pytest.raises(ClientError) as broken:
        list(stream)
    assert len(broken.value.unanswered) > 0
    with client, pytest.raises(Unavailable):
        client.embed_text("a", timeout=10)
    assert time.monotonic() - started < 10
