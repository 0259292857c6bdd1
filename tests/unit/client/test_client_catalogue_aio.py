import asyncio
import threading
from contextlib import aclosing

import grpc
import pytest

from clipsearch.client import (
    Aborted,
    AlreadyExists,
    AsyncCatalogue,
    AsyncClient,
    AsyncOperation,
    Cancelled,
    Catalogue,
    ClientError,
    DeadlineExceeded,
    Internal,
    NewItem,
    NotFound,
    Operation,
    RetryPolicy,
)
from clipsearch.v1 import catalogue_pb2 as pb
from tests.unit.client.fake_catalogue import exported, exporting, imported, rebuilding, rebuilt
from tests.unit.client.fake_server import DIMENSION, DRAINING, Fake, queue_full, status_of

QUICK = RetryPolicy(initial_backoff_s=0.01, max_backoff_s=0.01)


def items(*names: str) -> list[NewItem]:
    return [NewItem(name, text=f"text {name}") for name in names]


@pytest.mark.parametrize(("asynchronous", "blocking"), [(AsyncCatalogue, Catalogue), (AsyncOperation, Operation)])
def test_has_the_methods_of_the_blocking_one(asynchronous: type, blocking: type) -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(asynchronous) == public(blocking)


async def test_facets(fake: Fake) -> None:
    async with AsyncClient(fake.target) as client:
        found = await client.catalogue.facets(fields=["colour"])
    assert [(one.value, one.count) for one in found.fields["colour"].values] == [("red", 3)]


async def test_items_are_written_read_and_deleted(fake: Fake, tmp_path) -> None:
    file = tmp_path / "p.png"
    file.write_bytes(b"file")
    batch = [*items("a"), NewItem("b", image=[file, b"x"]), NewItem("c", image=tmp_path / "missing.png")]
    async with AsyncClient(fake.target) as client:
        written = await client.catalogue.upsert(batch)
        item = await client.catalogue.get_item("a", with_embedding=True)
        deleted = await client.catalogue.delete(["a", "nobody"])
        left = [item.id async for item in client.catalogue.list_items(page_size=1)]
        with pytest.raises(NotFound):
            await client.catalogue.get_item("a")
    assert written.results[:2] == ("created", "created")
    assert isinstance(written.results[2], ClientError)
    assert item.vector is not None
    assert (item.sequence_number, item.vector.shape) == (1, (DIMENSION,))
    assert (deleted.sequence_number, deleted.missing_ids) == (2, ("nobody",))
    assert left == ["b"]
    assert list(fake.requests[0].items[1].images.images) == [b"file", b"x"]


async def test_list_reads_all_pages(fake: Fake) -> None:
    async with AsyncClient(fake.target) as client:
        await client.catalogue.upsert(items(*"abcde"))
        fake.requests.clear()
        assert [item.id async for item in client.catalogue.list_items(page_size=2)] == list("abcde")
    assert [request.page_token for request in fake.requests] == ["", "2", "4"]


async def test_a_write_whose_answer_is_lost_is_done_once(fake: Fake) -> None:
    async with AsyncClient(fake.target, retry=QUICK) as client:
        fake.catalogue.lost = [DRAINING, queue_full(0.01)]
        written = await client.catalogue.upsert(items("a"))
        fake.catalogue.lost = [DRAINING]
        deleted = await client.catalogue.delete(["a"])
    assert (written.results, written.sequence_number) == (("created",), 1)
    assert (deleted.missing_ids, deleted.sequence_number) == ((), 2)
    assert len(fake.requests) == 5
    assert len({request.request_id for request in fake.requests}) == 2


async def test_collections(fake: Fake) -> None:
    async with AsyncClient(fake.target) as client:
        await client.catalogue.create_collection("shop")
        with pytest.raises(AlreadyExists):
            await client.catalogue.create_collection("shop")
        assert await client.catalogue.collections() == ["default", "shop"]
        assert (await client.catalogue.stats("shop")).items == 0
        await client.catalogue.delete_collection("shop")
        assert await client.catalogue.collections() == ["default"]


async def test_rebuild(fake: Fake) -> None:
    async with AsyncClient(fake.target) as client:
        with pytest.raises(Aborted):
            await client.catalogue.rebuild_index()
        fake.catalogue.operation = [rebuilding("training", 4), rebuilt()]
        rebuild = await client.catalogue.rebuild_index(train=True)
        assert fake.requests[-1].training == pb.REBUILD_TRAINING_ALWAYS
        assert (await rebuild.progress()).stage == "training"
        assert (await rebuild.wait(timeout=20)).size == 1000
        fake.catalogue.operation = [rebuilding("training", 4)]
        with pytest.raises(DeadlineExceeded, match="it goes on"):
            await rebuild.wait(timeout=0.05)
        with fake.hanging(), pytest.raises(DeadlineExceeded, match="it goes on"):
            await rebuild.wait(timeout=0.05)
        (listed,) = await client.catalogue.operations()
        assert (listed.name, listed.kind, listed.progress.stage) == (rebuild.name, "rebuild", "training")
        await client.catalogue.cancel_operation(rebuild.name)
        with pytest.raises(Cancelled):
            await rebuild.wait()


async def test_many_from_either_kind_of_iterable(fake: Fake, tmp_path) -> None:
    many = [*items("a"), NewItem("b", text=" "), NewItem("c", image=tmp_path / "missing.png"), *items("d")]

    async def asynchronous():
        for item in many:
            yield item

    async with AsyncClient(fake.target) as client:
        for source, word in ((many, "created"), (asynchronous(), "unchanged")):
            results = [pair async for pair in client.catalogue.upsert_many(source, batch_size=1)]
            assert [(item_id, r.reason if isinstance(r, ClientError) else r) for item_id, r in results] == [
                ("a", word), ("b", "TEXT_EMPTY"), ("c", "FILE_UNREADABLE"), ("d", word),
            ]  # fmt: skip
        assert [pair async for pair in client.catalogue.upsert_many([])] == []
    assert len(fake.requests) == 6


async def test_exports_and_imports_are_watched_to_their_ends(fake: Fake) -> None:
    fake.catalogue.operation = [exporting(4), exported()]
    async with AsyncClient(fake.target) as client:
        export = await client.catalogue.export_items("all.parquet", overwrite=True)
        assert (await export.progress()).done_steps == 4
        assert (await export.wait(timeout=20)).first_damaged_ids == ("bad",)
        fake.catalogue.operation = [imported()]
        loaded = await client.catalogue.import_items("all.parquet", metadata_path="all.csv")
        assert (await loaded.wait(timeout=20)).created_items == 3
    sent = {type(request).__name__: request for request in fake.requests}
    assert (sent["ExportItemsRequest"].path, sent["ExportItemsRequest"].overwrite) == ("all.parquet", True)
    assert sent["ImportItemsRequest"].metadata_path == "all.csv"


async def test_many_has_as_many_requests_under_way_as_told(fake: Fake) -> None:
    fake.catalogue.meet = threading.Barrier(3)
    names = [str(n) for n in range(12)]
    async with AsyncClient(fake.target) as client:
        writing = client.catalogue.upsert_many(items(*names), batch_size=2, concurrency=3)
        assert [pair async for pair in writing] == [(name, "created") for name in names]
    assert fake.catalogue.most_under_way == 3


async def test_many_lets_the_later_of_two_items_win(fake: Fake) -> None:
    many = [NewItem(name, text=f"version {n}") for n, name in enumerate("abacbabca" * 4)]
    async with AsyncClient(fake.target) as client:
        results = [pair async for pair in client.catalogue.upsert_many(many, batch_size=2)]
    assert [item_id for item_id, _ in results] == [item.id for item in many]
    stored = fake.catalogue.collections["default"]
    assert {name: item.text for name, item in stored.items()} == {item.id: item.text for item in many}


async def test_many_that_breaks_names_what_has_no_result(fake: Fake) -> None:
    fake.failures = [status_of(grpc.StatusCode.INTERNAL, "disk", "STORAGE_FAILED")]
    async with AsyncClient(fake.target) as client:
        with pytest.raises(Internal) as caught:
            async for _ in client.catalogue.upsert_many(items(*"abc"), batch_size=2, concurrency=1):
                pass
    assert caught.value.unanswered == ("a", "b", "c")


async def test_leaving_many_early_ends_its_requests(fake: Fake) -> None:
    async with AsyncClient(fake.target) as client:
        async with aclosing(client.catalogue.upsert_many(items(*"abcdef"), batch_size=1)) as writing:
            async for item_id, _ in writing:
                assert item_id == "a"
                break
        assert len(asyncio.all_tasks()) == 1
        assert (await client.catalogue.stats()).dimension == DIMENSION


async def test_arguments_of_many_are_checked_before_the_first_item(fake: Fake) -> None:
    async with AsyncClient(fake.target) as client:
        for arguments in ({"batch_size": 0}, {"concurrency": 0}, {"priority": "no"}, {"timeout": -1}):
            with pytest.raises(ValueError, match=next(iter(arguments))):
                client.catalogue.upsert_many(items("a"), **arguments)
        with pytest.raises(ValueError, match="page_size"):
            client.catalogue.list_items(page_size=0)
