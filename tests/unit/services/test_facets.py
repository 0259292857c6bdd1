"""The use case of facets: one count at a time, bounded, and none goes on for a caller who left."""

import asyncio
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from clipsearch.catalogue.facets import tally
from clipsearch.catalogue.facets.counts import FacetCounts
from clipsearch.catalogue.facets.tally import MAX_FIELDS, Check
from clipsearch.catalogue.facets.values import Facets, FieldFacet
from clipsearch.catalogue.filters.compile import CompiledFilter
from clipsearch.catalogue.mutations import Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import (
    BadFacetField,
    Cancelled,
    ClipsearchError,
    DeadlineExpired,
    FacetLimitOutOfRange,
    FilterTooComplex,
    MalformedFilter,
    QueueFull,
    TooManyFields,
)
from clipsearch.services import facets as service_module
from clipsearch.services.call import Call
from clipsearch.services.facets import MAX_VALUES, FacetService
from tests.unit.catalogue.support import HASH, D, apply_one, item


class Held:
    """Counts like the catalogue's, but each waits for ``go`` first; ``ended`` are the errors that ended some."""

    def __init__(self, counts: FacetCounts) -> None:
        self._counts = counts
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.ended: list[type[ClipsearchError]] = []

    def facets(
        self, condition: CompiledFilter | None, paths: Sequence[tuple[str, ...]], limit: int, check: Check
    ) -> Facets:
        self.begun.release()
        assert self.go.acquire(timeout=20)
        try:
            return self._counts.facets(condition, paths, limit, check)
        except ClipsearchError as error:
            self.ended.append(type(error))
            raise


class Shop:
    """What serves one collection, whose reader counts with ``facets``."""

    def __init__(self, facets: object) -> None:
        self.facets = facets

    def where(self, name: str) -> "Shop":
        assert name == "shop"
        return self

    @property
    def collection(self) -> "Shop":
        return self

    @property
    def reader(self) -> "Shop":
        return self


@pytest.fixture
def counts(tmp_path: Path) -> Iterator[FacetCounts]:
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        apply_one(writer, Upsert([item(f"i{n}", n, colour="red", price=n) for n in range(5)]))
        with CatalogueReader(tmp_path) as reader:
            yield reader.facets


@pytest.fixture
def held(counts: FacetCounts) -> Held:
    return Held(counts)


@pytest.fixture
def service(held: Held) -> Iterator[FacetService]:
    service = FacetService(Shop(held))  # type: ignore[arg-type]
    yield service
    service.stop()


async def ask(service: FacetService, *fields: str, only: str = "", limit: int = 0, call: Call | None = None) -> object:
    return (await service.facets("shop", only, list(fields), limit, call or Call())).fields


async def test_fields_come_in_the_order_and_spelling_of_the_request(service: FacetService, held: Held) -> None:
    held.go.release()
    fields = await ask(service, "price", '"colour"', "colour", "nothing")
    assert isinstance(fields, list)
    assert [(name, facet.items) for name, facet in fields] == [
        ("price", 5), ('"colour"', 5), ("colour", 5), ("nothing", 0),
    ]  # fmt: skip
    assert all(isinstance(facet, FieldFacet) for _, facet in fields)


@pytest.mark.parametrize(
    ("fields", "options", "error", "place"),
    [
        (["a"], {"limit": -1}, FacetLimitOutOfRange, "value_limit"),
        (["a"], {"limit": MAX_VALUES + 1}, FacetLimitOutOfRange, "value_limit"),
        (["f"] * (MAX_FIELDS + 1), {}, TooManyFields, "fields"),
        (["a", "b ="], {}, BadFacetField, "fields[1]"),
        ([""], {}, BadFacetField, "fields[0]"),
        ([".".join("abcdefghijklmnopqrstu")], {}, BadFacetField, "fields[0]"),
        (["a"], {"only": "price <"}, MalformedFilter, "filter"),
        (["a"], {"only": f'a = "{"x" * 9000}"'}, FilterTooComplex, "filter"),
    ],
)
async def test_bad_requests_are_refused_with_their_field(
    service: FacetService, fields: list[str], options: dict[str, object], error: type[ClipsearchError], place: str
) -> None:
    with pytest.raises(error) as caught:
        await ask(service, *fields, **options)  # type: ignore[arg-type]
    assert caught.value.field == place


async def test_one_counts_and_the_others_wait_up_to_a_bound(
    held: Held, service: FacetService, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [
        asyncio.create_task(ask(service, "price", call=Call(who=lambda: uuid.uuid4().hex)))
        for number in range(service_module.MAX_WAITING)
    ]
    await asyncio.to_thread(held.begun.acquire)
    with pytest.raises(QueueFull):
        await ask(service, "price")
    assert not held.begun.acquire(blocking=False), "only one thread counts"
    for _ in tasks:
        held.go.release()
    assert len(await asyncio.gather(*tasks)) == len(tasks)
    held.go.release()
    assert await ask(service, "price"), "the places are free again"


async def test_a_count_ends_when_its_caller_leaves(
    held: Held, service: FacetService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "ROWS_AT_ONCE", 1)
    task = asyncio.create_task(ask(service, "price"))
    waiting = asyncio.create_task(ask(service, "colour"))
    await asyncio.to_thread(held.begun.acquire)
    task.cancel()
    waiting.cancel()
    await asyncio.wait([task, waiting])
    for _ in range(2):
        held.go.release()
    assert await ask(service, "price")
    assert held.ended == [Cancelled], "and the one that had not begun never does"


async def test_a_count_ends_at_the_deadline(held: Held, service: FacetService) -> None:
    held.go.release()
    with pytest.raises(DeadlineExpired):
        await ask(service, "price", call=Call(deadline=0.0))
