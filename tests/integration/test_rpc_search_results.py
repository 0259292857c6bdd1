"""Pages, groups and near-duplicates over the wire: a server with an empty data directory of its own."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from clipsearch.index.flat import FlatIndex
from clipsearch.settings import Settings
from clipsearch.v1 import catalogue_pb2, common_pb2
from clipsearch.v1 import search_pb2 as pb
from clipsearch.v1.catalogue_pb2_grpc import CatalogueServiceStub
from clipsearch.v1.search_pb2_grpc import SearchServiceStub

from .support import SAMPLE_BUNDLE, Running

DIMENSION = 128
COLOURS = ("red", "green", "blue")


def embedding(*values: float) -> common_pb2.Embedding:
    """The vector that begins with ``values``."""
    return common_pb2.Embedding(float32=common_pb2.FloatVector(values=[*values, *[0.0] * (DIMENSION - len(values))]))


def towards(degrees: float) -> common_pb2.Embedding:
    """A unit vector in the plane of the first two coordinates."""
    return embedding(float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))))


FIRST_AXIS = pb.Query(vector=towards(0))


class Shop:
    """One collection and what to do with it."""

    def __init__(self, channel: grpc.Channel, collection: str) -> None:
        self.catalogue, self.stub = CatalogueServiceStub(channel), SearchServiceStub(channel)
        self.operations: Any = operations_pb2_grpc.OperationsStub(channel)
        self.collection = collection

    def upsert(self, **degrees: float) -> None:
        """Write items named by angle from the query; their colours take turns, and every fourth has none."""
        items = []
        for item_id, angle in degrees.items():
            item = catalogue_pb2.UpsertItem(id=item_id, vector=towards(angle))
            number = int(item_id[1:])
            item.metadata.update({"n": number})
            if number % 4 < 3:
                item.metadata.update({"look": {"colour": COLOURS[number % 4]}})
            items.append(item)
        response = self.catalogue.UpsertItems(
            catalogue_pb2.UpsertItemsRequest(collection=self.collection, items=items), timeout=30
        )
        assert all(result.HasField("outcome") for result in response.results), response

    def delete(self, *ids: str) -> None:
        self.catalogue.DeleteItems(catalogue_pb2.DeleteItemsRequest(collection=self.collection, ids=ids), timeout=30)

    def rebuild(self) -> None:
        name = self.catalogue.RebuildIndex(catalogue_pb2.RebuildIndexRequest(collection=self.collection)).name
        wait = operations_pb2.WaitOperationRequest(name=name, timeout=duration_pb2.Duration(seconds=30))
        done = self.operations.WaitOperation(wait, timeout=40)
        assert done.done and not done.HasField("error"), done

    def search(self, **fields: Any) -> pb.SearchResponse:
        fields.setdefault("query", FIRST_AXIS)
        response: pb.SearchResponse = self.stub.Search(
            pb.SearchRequest(collection=self.collection, **fields), timeout=30
        )
        return response

    def found(self, **fields: Any) -> list[str]:
        return [hit.id for hit in self.search(**fields).hits]

    def pages(self, **fields: Any) -> Iterator[list[str]]:
        """Ids of page after page; what happens between two of them is up to the caller."""
        response = self.search(offset=0, **fields)
        yield [hit.id for hit in response.hits]
        while token := response.next_page_token:
            response = self.search(page_token=token, **fields)
            yield [hit.id for hit in response.hits]


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    settings = Settings(
        bundle=SAMPLE_BUNDLE,
        data=tmp_path_factory.mktemp("data"),
        listen="127.0.0.1:0",
        device="cpu",
        max_batch_items=64,
        max_search_depth=300,
    )
    with Running(settings) as running, grpc.insecure_channel(running.address) as channel:
        yield channel


@pytest.fixture
def shop(channel: grpc.Channel, request: pytest.FixtureRequest) -> Shop:
    """A collection of 24 items, i0 to i23, two degrees apart: i0 is the query itself."""
    shop = Shop(channel, request.node.name.lower().replace("[", "-").replace("]", "")[:60])
    shop.catalogue.CreateCollection(catalogue_pb2.CreateCollectionRequest(collection=shop.collection))
    shop.upsert(**{f"i{n}": 2.0 * n for n in range(24)})
    return shop


def ids(*numbers: int) -> list[str]:
    return [f"i{n}" for n in numbers]


def failure(call: Any) -> tuple[str, str]:
    """Reason and field of an INVALID_ARGUMENT."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info) and status.details[1].Unpack(bad)
    return info.reason, bad.field_violations[0].field


def test_pages_join_up_to_the_whole_list(shop: Shop) -> None:
    assert list(shop.pages(top_k=10)) == [ids(*range(10)), ids(*range(10, 20)), ids(*range(20, 24))]
    assert list(shop.pages(top_k=12)) == [ids(*range(12)), ids(*range(12, 24))], "no empty page at the end"
    assert shop.found(offset=5, top_k=3) == ids(5, 6, 7)
    skipped = shop.search(offset=5, top_k=3).next_page_token
    assert shop.found(page_token=skipped, top_k=3) == ids(8, 9, 10)
    assert shop.found(offset=30) == []
    assert shop.search(top_k=3).next_page_token == "", "pages were not asked for"


def test_pages_of_a_text_are_those_of_one_long_answer(shop: Shop) -> None:
    query = pb.Query(text="a red dress")
    whole = shop.search(query=query, top_k=24)
    paged = [one for page in shop.pages(query=query, top_k=5) for one in page]
    assert paged == [hit.id for hit in whole.hits]
    terms = [pb.WeightedQuery(query=query), pb.WeightedQuery(query=FIRST_AXIS, weight=0.5)]
    long = shop.found(query=None, terms=terms, top_k=24)
    assert [one for page in shop.pages(query=None, terms=terms, top_k=7) for one in page] == long
    by_item = pb.Query(item_id="i23")
    assert [one for page in shop.pages(query=by_item, top_k=9) for one in page] == shop.found(query=by_item, top_k=24)


def test_pages_hold_still_while_the_catalogue_moves(shop: Shop) -> None:
    pages = shop.pages(top_k=5)
    assert next(pages) == ids(0, 1, 2, 3, 4)
    shop.upsert(i30=0.5, i31=9.5, i32=15)  # new: not there when the first page was made
    shop.delete("i1", "i6")
    shop.upsert(i2=10.5, i8=17, i23=1)  # written again: the old version goes, the new one is new
    assert next(pages) == ids(5, 7, 9, 10, 11)
    shop.rebuild()
    assert next(pages) == ids(12, 13, 14, 15, 16)
    shop.upsert(**{f"i{n}": 0.01 * n for n in range(100, 150)})
    assert [one for page in pages for one in page] == ids(17, 18, 19, 20, 21, 22)
    assert shop.found(top_k=4, exclude_ids=ids(*range(100, 150))) == ids(0, 30, 23, 3)


def test_groups_give_their_best_hit(shop: Shop) -> None:
    # The colours of i0, i1 and i2, and all without one.
    assert shop.found(group_by="look.colour", top_k=20) == ids(0, 1, 2, 3, 7, 11, 15, 19, 23)
    assert list(shop.pages(group_by="look.colour", top_k=4)) == [ids(0, 1, 2, 3), ids(7, 11, 15, 19), ids(23)]
    assert shop.found(group_by="look.colour", offset=2, top_k=3) == ids(2, 3, 7)
    assert shop.found(group_by="look", filter="look:*", min_score=0.9) == ids(0, 1, 2)
    assert shop.found(group_by="n", top_k=3) == ids(0, 1, 2)


def test_a_group_is_looked_for_as_deep_as_it_takes(shop: Shop) -> None:
    shop.upsert(**{f"i{4 * n}": 0.001 * n for n in range(25, 73)})
    shop.upsert(**{f"i{4 * n}": 0.001 * n for n in range(73, 121)})
    shop.upsert(**{f"i{4 * n}": 0.001 * n for n in range(121, 169)})
    # 146 red ones come before the first of any other colour.
    assert shop.found(group_by="look.colour", top_k=3) == ids(0, 1, 2)
    found = shop.search(query=pb.Query(vector=towards(-1)), group_by="look.colour", top_k=4, view=pb.VIEW_FULL)
    assert [hit.id for hit in found.hits] == ids(0, 1, 2, 3)
    assert [hit.metadata["n"] for hit in found.hits] == [0, 1, 2, 3]
    assert found.hits[2].embedding.float32.values[:2] == pytest.approx(towards(4).float32.values[:2], abs=1e-3)


def test_near_duplicates_collapse_into_the_better_one(shop: Shop) -> None:
    five_degrees = float(np.cos(np.radians(5)))
    assert shop.found(collapse_above=five_degrees, top_k=5) == ids(0, 3, 6, 9, 12)
    assert list(shop.pages(collapse_above=five_degrees, top_k=3)) == [ids(0, 3, 6), ids(9, 12, 15), ids(18, 21)]
    pages = shop.pages(collapse_above=five_degrees, top_k=3)
    assert next(pages) == ids(0, 3, 6)
    shop.delete("i6")
    assert next(pages) == ids(9, 12, 15), "what it stood for was shown with it"
    assert shop.found(collapse_above=five_degrees, group_by="look.colour", top_k=9) == ids(0, 3, 7, 10, 13, 19, 23)


def test_everything_goes_together(shop: Shop) -> None:
    fields: dict[str, Any] = {
        "filter": "n < 20",
        "exclude_ids": ["i0", "i4"],
        "min_score": 0.8,
        "group_by": "look.colour",
        "collapse_above": float(np.cos(np.radians(3))),
    }
    # Of i1 to i18, no two neighbours: i1 green, i3, i5 is green too, i6 blue, i8 red, i11, i15.
    assert shop.found(top_k=20, **fields) == ids(1, 3, 6, 8, 11, 15)
    assert list(shop.pages(top_k=4, **fields)) == [ids(1, 3, 6, 8), ids(11, 15)]
    text = shop.search(query=pb.Query(text="shoes"), group_by="look.colour", top_k=5, offset=0)
    assert len(text.hits) == 5 and text.next_page_token
    assert text.timings.encode_us > 0 and text.timings.search_us > 0


def test_a_token_is_good_for_its_own_search_only(shop: Shop) -> None:
    token = shop.search(offset=0, top_k=3, filter="n < 20").next_page_token
    same: dict[str, Any] = {"filter": "n < 20", "page_token": token}
    assert shop.found(top_k=2, view=pb.VIEW_METADATA, priority=common_pb2.PRIORITY_BULK, **same) == ids(3, 4)
    for other in (
        {"query": pb.Query(vector=towards(1))},
        {"query": pb.Query(text="a red dress")},
        {"filter": "n < 21"},
        {"min_score": 0.1},
        {"exclude_ids": ["i9"]},
        {"group_by": "n"},
        {"collapse_above": 0.5},
        {"page_token": "nonsense"},
        {"page_token": token[:-4]},
    ):
        assert failure(lambda other=other: shop.found(**{**same, **other})) == (
            "PAGE_TOKEN_NOT_USABLE",
            "page_token",
        ), other


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"offset": -1}, "OFFSET_NOT_USABLE", "offset"),
        ({"offset": 3, "page_token": "x"}, "OFFSET_NOT_USABLE", "offset"),
        ({"offset": 291}, "SEARCH_TOO_DEEP", "offset"),
        ({"group_by": "a = 1"}, "GROUP_BY_NOT_USABLE", "group_by"),
        ({"collapse_above": 1.0}, "COLLAPSE_ABOVE_NOT_USABLE", "collapse_above"),
        ({"collapse_above": float("nan")}, "COLLAPSE_ABOVE_NOT_USABLE", "collapse_above"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(shop: Shop, fields: dict[str, Any], reason: str, field: str) -> None:
    assert failure(lambda: shop.found(**fields)) == (reason, field)
    request = pb.SearchRequest(collection=shop.collection, query=FIRST_AXIS, **fields)
    good = pb.SearchRequest(collection=shop.collection, query=FIRST_AXIS, offset=1, top_k=1)
    results = shop.stub.BatchSearch(pb.BatchSearchRequest(requests=[request, good])).results
    assert [result.WhichOneof("result") for result in results] == ["error", "response"]
    assert results[1].response.hits[0].id == "i1"


def test_what_an_index_cannot_reach_is_refused_and_never_left_out(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, whose kernels return so many candidates and no more."""
    monkeypatch.setattr(FlatIndex, "max_k", 12)
    shop.rebuild()
    assert shop.found(top_k=12) == ids(*range(12))
    assert failure(lambda: shop.found(top_k=13)) == ("SEARCH_TOO_DEEP", "top_k")
    excluded = {"exclude_ids": ids(0, 1)}
    assert shop.found(top_k=10, **excluded) == ids(*range(2, 12))
    assert failure(lambda: shop.found(top_k=11, **excluded)) == ("SEARCH_TOO_DEEP", "top_k")
    # One hit more is looked for than a page has, which tells whether there is another page.
    first = shop.search(top_k=9, offset=2)
    assert [hit.id for hit in first.hits] == ids(*range(2, 11))
    assert failure(lambda: shop.found(top_k=9, page_token=first.next_page_token)) == ("SEARCH_TOO_DEEP", "page_token")
    assert failure(lambda: shop.found(top_k=9, offset=3)) == ("SEARCH_TOO_DEEP", "offset")
    assert shop.found(top_k=8, offset=1, **excluded) == ids(*range(3, 11))
    assert failure(lambda: shop.found(top_k=8, offset=2, **excluded)) == ("SEARCH_TOO_DEEP", "offset")
