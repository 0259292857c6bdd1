"""A catalogue that moves to a model of other weights while it is searched and written."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clipsearch import succession
from clipsearch.catalogue.mutations import Mutation
from clipsearch.cli.shell import shell
from clipsearch.client import Client, ClientError, FailedPrecondition, InvalidArgument, NewItem, NotFound
from clipsearch.collection import Collection
from clipsearch.errors import StorageFailed
from clipsearch.settings import Settings
from tests.integration.bundles import Bundles
from tests.integration.support import Running
from tests.integration.swap_support import LIMIT_S, Callers, serving
from tests.waiting import eventually


def run(*arguments: object) -> str:
    """Run a verb as a user does; returns what it says."""
    result = CliRunner().invoke(shell, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(work: Callable[[], object], reason: str) -> ClientError:
    with pytest.raises(FailedPrecondition) as caught:
        work()
    assert caught.value.reason == reason
    return caught.value


def fill(client: Client, pictures: list[Path], collection: str = "") -> None:
    items = [NewItem(path.name, image=path, metadata={"n": i}) for i, path in enumerate(pictures)]
    assert client.catalogue.upsert(items, collection=collection).results.count("created") == len(pictures)


class Writer:
    """Makes, changes and deletes items, a picture each, and remembers what was acknowledged."""

    def __init__(self, client: Client, pictures: list[Path]) -> None:
        self.acknowledged: dict[str, int] = {}
        self._client, self._pictures = client, pictures
        self._numbers = itertools.count()

    def write(self) -> None:
        number = next(self._numbers)
        item_id, shown = f"item-{number % 40}", number % len(self._pictures)
        if number % 5 == 4 and item_id in self.acknowledged:
            assert self._client.catalogue.delete([item_id]).missing_ids == ()
            del self.acknowledged[item_id]
            return
        (result,) = self._client.catalogue.upsert(
            [NewItem(item_id, image=self._pictures[shown], metadata={"shown": shown})]
        ).results
        assert not isinstance(result, ClientError)
        self.acknowledged[item_id] = shown


def test_a_catalogue_moves_to_another_model_and_nobody_notices(
    bundles: Bundles, pictures: list[Path], tmp_path: Path
) -> None:
    data, state = tmp_path / "data", ("--state", tmp_path / "state", "--rejects", tmp_path / "rejects.jsonl")
    with serving(bundles, data) as (running, client):
        at = ("--server", running.address)
        run("ingest", pictures[0].parent, *at, *state)
        writer = Writer(client, pictures)

        def by_picture() -> None:
            best = client.search(image=pictures[3], top_k=50, exclude_ids=[f"item-{n}" for n in range(40)]).hits[0]
            assert (best.id, best.score > 0.99) == (pictures[3].name, True)

        def by_text() -> None:
            assert len(client.search(text="a red shirt", top_k=5, view="metadata").hits) == 5

        with Callers(writer.write, by_picture, by_text) as callers:
            callers.let_each_make(20)
            told = run("reembed", "start", "other", *at)
            assert "clipsearch ingest SOURCE --collection default@next" in told
            callers.let_each_make(5)
            # What was written before the staging has to be brought again, as it would be from a source of its own.
            run("ingest", pictures[0].parent, "--collection", "default@next", *at, *state)
            callers.let_each_make(40)
            told = run("reembed", "finish", *at)
            callers.let_each_make(20)
        assert "48 dimensions" in told
        check(client, writer.acknowledged, pictures)
    settings = Settings(bundle=bundles.other, data=data, listen="127.0.0.1:0", device="cpu")
    with Running(settings) as running, Client(running.address) as client:
        check(client, writer.acknowledged, pictures)
        assert sorted(path.name for path in data.iterdir()) == ["default"]


def check(client: Client, written: dict[str, int], pictures: list[Path]) -> None:
    """Every item is there, as it was acknowledged, with a vector of its own picture by the new model."""
    items = {item.id: item for item in client.catalogue.list_items(with_embedding=True)}
    assert set(items) == {*written, *(path.name for path in pictures)}
    vectors = [client.embed_image(path).vector for path in pictures]
    for i, path in enumerate(pictures):
        assert items[path.name].vector @ vectors[i] > 0.999  # type: ignore[operator]
    for item_id, shown in written.items():
        assert items[item_id].metadata == {"shown": shown}
        assert items[item_id].vector @ vectors[shown] > 0.999  # type: ignore[operator]
    assert {len(vector) for vector in vectors} == {48}


@pytest.fixture(name="staged")
def _staged(bundles: Bundles, pictures: list[Path], tmp_path: Path) -> Iterator[Client]:
    """A client of a server with twelve items, and another model staged."""
    with serving(bundles, tmp_path / "data", imports=pictures[0].parent.parent) as (_, client):
        fill(client, pictures)
        client.models.stage("other").wait(LIMIT_S)
        yield client


@dataclass(frozen=True)
class Filled:
    """A server with twelve items in collections of two models, the second of them staged."""

    client: Client
    old: Collection
    new: Collection
    under_way: Mapping[tuple[str, str], int]

    @contextmanager
    def upserting(self, item_id: str, picture: Path) -> Iterator[list[object]]:
        """Write an item beside what is done inside this; afterwards its results are there."""
        results: list[object] = []
        thread = threading.Thread(
            target=lambda: results.extend(self.client.catalogue.upsert([NewItem(item_id, image=picture)]).results)
        )
        thread.start()
        try:
            yield results
        finally:
            thread.join(LIMIT_S)
        assert not thread.is_alive()


@pytest.fixture(name="filled")
def _filled(bundles: Bundles, pictures: list[Path], tmp_path: Path) -> Iterator[Filled]:
    with serving(bundles, tmp_path / "data") as (running, client):
        fill(client, pictures)
        client.models.stage("other").wait(LIMIT_S)
        fill(client, pictures, "default@next")
        models = running.app.models.serving
        assert models.staged is not None
        assert models.staged.data is not None
        yield Filled(
            client, models.data.collection("default"), models.staged.data.collection("default"), models.under_way
        )


def test_what_is_missing_is_named_and_only_left_behind_on_demand(staged: Client, pictures: list[Path]) -> None:
    fill(staged, pictures[:9], "default@next")
    error = refused(lambda: staged.models.promote().wait(LIMIT_S), "COLLECTIONS_INCOMPLETE")
    assert "default lacks 3 (09.png, 10.png, 11.png)" in error.message
    assert error.metadata == {"default": "3"}
    assert (staged.model().dimension, staged.catalogue.stats().items) == (128, 12)
    (promoted,) = staged.models.promote(allow_missing=True).wait(LIMIT_S).collections
    assert (promoted.items, promoted.missing_items) == (9, 3)
    assert staged.catalogue.stats().items == 9


def test_a_ready_vector_is_not_translated_but_asked_for_again(staged: Client, pictures: list[Path]) -> None:
    fill(staged, pictures, "default@next")
    staged.catalogue.upsert([NewItem("00.png", vector=np.eye(1, 128, dtype=np.float32)[0])])
    error = refused(lambda: staged.models.promote().wait(LIMIT_S), "COLLECTIONS_INCOMPLETE")
    assert "default lacks 1 (00.png)" in error.message
    staged.catalogue.upsert([NewItem("00.png", image=pictures[0])])
    assert staged.models.promote().wait(LIMIT_S).collections[0].missing_items == 0


def test_what_is_staged_can_be_tried_and_is_filled_from_beside_the_server_too(
    staged: Client, pictures: list[Path]
) -> None:
    assert staged.catalogue.collections() == ["default", "default@next"]
    imported = staged.catalogue.import_items(pictures[0].parent.name, collection="default@next").wait(LIMIT_S)
    assert imported.created_items == 12
    stats = staged.catalogue.stats("default@next")
    assert (stats.items, stats.dimension) == (12, 48)
    assert stats.weight_hash != staged.catalogue.stats().weight_hash == staged.model().weight_hash
    assert staged.search(image=pictures[5], collection="default@next").hits[0].id == "05.png"
    staged.models.unstage().wait(LIMIT_S)
    with pytest.raises(NotFound):
        staged.catalogue.stats("default@next")
    assert staged.search(image=pictures[5]).hits[0].id == "05.png"


def test_collections_that_are_made_and_deleted_meanwhile_are_followed(staged: Client, pictures: list[Path]) -> None:
    staged.catalogue.create_collection("shoes")
    staged.catalogue.upsert([NewItem("boot", image=pictures[1])], collection="shoes")
    staged.catalogue.create_collection("brief")
    staged.catalogue.delete_collection("brief")
    fill(staged, pictures, "default@next")
    promoted = staged.models.promote().wait(LIMIT_S)
    assert [(one.collection, one.items) for one in promoted.collections] == [("default", 12), ("shoes", 1)]
    staged.catalogue.create_collection("later")
    staged.catalogue.upsert([NewItem("boot", image=pictures[1])], collection="later")
    assert staged.search(image=pictures[1], collection="later").hits[0].id == "boot"
    staged.catalogue.delete_collection("shoes")
    assert staged.catalogue.collections() == ["default", "later"]


def test_sequence_numbers_go_on_and_page_tokens_end(staged: Client, pictures: list[Path]) -> None:
    for n in range(20):
        seq = staged.catalogue.upsert([NewItem("00.png", image=pictures[n % 2])]).sequence_number
    fill(staged, pictures[1:], "default@next")
    page = staged.search(text="a shirt", top_k=3, offset=0)
    assert page.next_page_token
    staged.models.promote().wait(LIMIT_S)
    with pytest.raises(InvalidArgument) as caught:
        staged.search(text="a shirt", top_k=3, page_token=page.next_page_token)
    assert caught.value.reason == "PAGE_TOKEN_NOT_USABLE"
    assert staged.search(image=pictures[1], min_sequence_number=seq).hits
    assert staged.catalogue.upsert([NewItem("x", image=pictures[0])]).sequence_number > seq


def test_staging_goes_on_after_a_restart_and_knows_what_was_written_in_between(
    bundles: Bundles, pictures: list[Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with serving(bundles, data) as (_, client):
        fill(client, pictures)
        client.models.stage("other").wait(LIMIT_S)
        fill(client, pictures[:8], "default@next")
        client.catalogue.delete(["07.png"])
    with serving(bundles, data) as (_, client):
        client.catalogue.upsert([NewItem("00.png", image=pictures[5])])
        refused(lambda: client.models.promote().wait(LIMIT_S), "MODEL_NOT_STAGED")
        client.models.stage("other").wait(LIMIT_S)
        assert client.catalogue.stats("default@next").items == 7
        client.catalogue.upsert([NewItem(path.name, image=path) for path in pictures[8:]], collection="default@next")
        error = refused(lambda: client.models.promote().wait(LIMIT_S), "COLLECTIONS_INCOMPLETE")
        assert "default lacks 1 (00.png)" in error.message, "it shows another picture now"
        client.catalogue.upsert([NewItem("00.png", image=pictures[5])], collection="default@next")
        assert client.models.promote().wait(LIMIT_S).collections[0].items == 11


def test_one_model_is_staged_at_a_time(staged: Client, bundles: Bundles) -> None:
    refused(lambda: staged.models.stage("other").wait(LIMIT_S), "MODEL_STAGED")
    with pytest.raises(InvalidArgument, match="reload"):
        staged.models.stage("int8").wait(LIMIT_S)
    assert staged.models.reload("int8").wait(LIMIT_S).swapped, "precisions are swapped all the same"
    assert staged.catalogue.collections() == ["default", "default@next"]


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_write_that_is_under_way_at_the_switch_lands_in_what_serves_afterwards(
    filled: Filled, pictures: list[Path], which: str
) -> None:
    arrived, promoted = threading.Event(), threading.Event()
    collection = filled.old if which == "first" else filled.new
    write = collection.write

    def held(mutations: Sequence[Mutation]) -> object:
        arrived.set()
        assert promoted.wait(LIMIT_S)
        return write(mutations)

    collection.write = held  # type: ignore[method-assign, assignment]
    with filled.upserting("late", pictures[2]) as answer:
        assert arrived.wait(LIMIT_S)
        filled.client.models.promote().wait(LIMIT_S)
        promoted.set()
    assert answer == ["created"]
    assert is_stored(filled.client, "late", pictures[2])


def test_a_second_write_that_fails_when_nobody_looks_any_more_is_made_again(
    filled: Filled, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, decided = threading.Event(), threading.Event()
    first, write, promote = filled.old.write, filled.new.write, succession.promote
    asked: list[Sequence[Mutation]] = []

    def counted(mutations: Sequence[Mutation]) -> object:
        asked.append(mutations)
        return first(mutations)

    def failing(mutations: Sequence[Mutation]) -> object:
        filled.new.write = write  # type: ignore[method-assign]
        arrived.set()
        assert decided.wait(LIMIT_S)
        raise StorageFailed("the disk is gone for a moment")

    def promoting(root: Path, replaced: Sequence[str]) -> None:
        decided.set()
        eventually(lambda: not filled.under_way or len(asked) == 2)
        promote(root, replaced)

    filled.old.write, filled.new.write = counted, failing  # type: ignore[method-assign, assignment]
    monkeypatch.setattr(succession, "promote", promoting)
    with filled.upserting("late", pictures[2]) as answer:
        assert arrived.wait(LIMIT_S)
        filled.client.models.promote().wait(LIMIT_S)
    assert answer == ["created"]
    assert is_stored(filled.client, "late", pictures[2])


def test_a_second_write_that_failed_before_is_missing(filled: Filled, pictures: list[Path]) -> None:
    write = filled.new.write

    def failing(mutations: Sequence[Mutation]) -> object:
        filled.new.write = write  # type: ignore[method-assign]
        raise StorageFailed("the disk is gone for a moment")

    filled.new.write = failing  # type: ignore[method-assign, assignment]
    with filled.upserting("late", pictures[2]) as answer:
        pass
    assert answer == ["created"]
    error = refused(lambda: filled.client.models.promote().wait(LIMIT_S), "COLLECTIONS_INCOMPLETE")
    assert "default lacks 1 (late)" in error.message


def is_stored(client: Client, item_id: str, picture: Path) -> bool:
    """Whether the item is there with a vector by the model that serves."""
    item = client.catalogue.get_item(item_id, with_embedding=True)
    assert item.vector is not None
    return bool(item.vector @ client.embed_image(picture).vector > 0.999)


def test_commands_say_what_they_did(bundles: Bundles, pictures: list[Path], tmp_path: Path) -> None:
    with serving(bundles, tmp_path / "data") as (running, client):
        at = ("--server", running.address)
        told = run("reload", "int8", *at)
        assert told.startswith("serving checkpoint (int8, 128 dimensions, weights ")
        assert "instead of checkpoint (fp32" in told
        assert run("reload", "int8", *at).rstrip().endswith("as before")
        fill(client, pictures[:1])
        with pytest.raises(FailedPrecondition, match="clipsearch reembed start"):
            run("--debug", "reload", "other", *at)
        run("reembed", "start", "other", *at)
        assert run("reembed", "abandon", *at) == "nothing is staged\n"
        run("reembed", "start", "other", *at)
        fill(client, pictures[:1], "default@next")
        told = run("reembed", "finish", *at)
        assert told.startswith("default: 1 items\nserving checkpoint (fp32, 48 dimensions")
