"""GetFacets over the wire, and the uris of hits: the sample catalogue, and a collection that is written."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from clipsearch.client import (
    AsyncClient,
    Client,
    FailedPrecondition,
    InvalidArgument,
    NewItem,
    NotFound,
    Query,
)
from clipsearch.settings import Settings
from tests.integration.support import ITEMS, SAMPLE_BUNDLE, Running


@pytest.fixture(scope="module", name="products")
def _products(catalogue: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (catalogue / "metadata.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", name="client")
def _client(server: Running) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> Iterator[Client]:
    """The client of a server whose collection is empty."""
    settings = Settings(bundle=SAMPLE_BUNDLE, data=tmp_path / "data", listen="127.0.0.1:0", device="cpu")
    with Running(settings) as running, Client(running.address) as client:
        yield client


def new(item_id: str, axis: int = 0, uri: str = "", **metadata: object) -> NewItem:
    return NewItem(item_id, vector=np.eye(128)[axis], metadata=metadata, uri=uri)


@pytest.mark.parametrize("condition", ["", "price < 40"])
def test_the_sample_catalogue_is_counted_exactly(
    client: Client, products: list[dict[str, object]], condition: str
) -> None:
    kept = [product for product in products if not condition or float(str(product["price"])) < 40]
    found = client.catalogue.facets(fields=["category", "price", "colour"], filter=condition, limit=1000)
    assert found.sequence_number == client.catalogue.stats().sequence_number
    for name in ("category", "price", "colour"):
        facet = found.fields[name]
        assert facet.items == len(kept)
        assert {one.value: one.count for one in facet.values} == Counter(product[name] for product in kept)
        assert [one.count for one in facet.values] == sorted((one.count for one in facet.values), reverse=True)
        assert not facet.more_values
    prices = [float(str(product["price"])) for product in kept]
    assert (found.fields["price"].minimum, found.fields["price"].maximum) == (min(prices), max(prices))
    assert found.fields["category"].minimum is None


def test_all_fields_are_found(client: Client, products: list[dict[str, object]]) -> None:
    found = client.catalogue.facets(limit=3).fields
    assert list(found) == sorted({name for product in products for name in product} - {"id"})
    assert (found["title"].items, found["title"].more_values) == (ITEMS, True)
    assert len(found["title"].values) == 3


def test_what_is_written_and_deleted_counts_at_once(shop: Client) -> None:
    catalogue = shop.catalogue
    assert catalogue.facets().fields == {}
    catalogue.upsert([new("a", tags=["x", "y"], sold=False), new("b", 1, tags=["x"], size={"eu": 38})])
    first = catalogue.facets()
    assert {name: [(one.value, one.count) for one in facet.values] for name, facet in first.fields.items()} == {
        "size.eu": [(38, 1)],
        "sold": [(False, 1)],
        "tags": [("x", 2), ("y", 1)],
    }
    written = catalogue.upsert([new("a", 2, tags=["z"])])
    second = catalogue.facets(fields=["tags"])
    assert [(one.value, one.count) for one in second.fields["tags"].values] == [("x", 1), ("z", 1)]
    assert second.sequence_number == written.sequence_number
    catalogue.delete(["a", "b"])
    assert catalogue.facets().fields == {}
    assert catalogue.facets(fields=["tags"]).fields["tags"].items == 0


async def test_facets_of_the_asynchronous_client(server: Running) -> None:
    async with AsyncClient(server.address) as client:
        found = await client.catalogue.facets(fields=["category"], limit=1)
    assert (len(found.fields["category"].values), found.fields["category"].more_values) == (1, True)


def test_bad_requests_name_their_field(client: Client) -> None:
    for arguments, reason, field in [
        ({"fields": ["category", "a b"]}, "FACET_FIELD_NOT_USABLE", "fields[1]"),
        ({"limit": 1001}, "FACET_LIMIT_OUT_OF_RANGE", "value_limit"),
        ({"fields": ["a"] * 257}, "TOO_MANY_FIELDS", "fields"),
        ({"filter": "price <"}, "FILTER_MALFORMED", "filter"),
    ]:
        with pytest.raises(InvalidArgument) as caught:
            client.catalogue.facets(**arguments)  # type: ignore[arg-type]
        assert caught.value.reason == reason
        assert [violation.field for violation in caught.value.violations] == [field]
    with pytest.raises(NotFound):
        client.catalogue.facets("nowhere")


def test_without_data_there_is_nothing_to_count() -> None:
    settings = Settings(bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu")
    with Running(settings) as running, Client(running.address) as client, pytest.raises(FailedPrecondition) as caught:
        client.catalogue.facets()
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.reason == "NO_INDEX"


def test_hits_carry_the_uri_where_the_view_has_metadata(shop: Client) -> None:
    shop.catalogue.upsert([new("with", 0, uri="https://shop.example/1.jpg", n=1), new("without", 1, n=2)])
    query = np.eye(128)[0]
    for view, uri in [
        ("basic", ""),
        ("metadata", "https://shop.example/1.jpg"),
        ("full", "https://shop.example/1.jpg"),
    ]:
        first, second = shop.search(vector=query, view=view).hits  # type: ignore[arg-type]
        assert (first.id, first.uri, second.uri) == ("with", uri, "")
        assert first.metadata == (None if view == "basic" else {"n": 1})
    (batched,) = shop.search_batch([Query(item_id="with")], view="metadata", top_k=1)
    assert batched.hits[0].uri == "https://shop.example/1.jpg"  # type: ignore[union-attr]
