"""Pages under writes, against a model that scores everything: a real collection, real SQLite, small depths."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipsearch.catalogue.items import Item, metadata_json
from clipsearch.catalogue.mutations import Applied, Delete, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import CollectionOptions
from clipsearch.data import DataDirectory
from clipsearch.errors import BadCollapse, BadGroupField, BadOffset, BadPageToken, ClipsearchError, SearchTooDeep
from clipsearch.index.live import LiveIndex
from clipsearch.index.rules import Training
from clipsearch.index.tuning import Report
from clipsearch.services import rounds
from clipsearch.services.paging import Before, mark_of, token_of
from clipsearch.services.recall import RecallMonitor
from clipsearch.services.rounds import FIRST_DEPTH, Hits, Page, check_shape, depths, fill_page, open_page
from clipsearch.services.searcher import Neighbours, Probe, Searcher
from clipsearch.services.shaping import Shape, Suppressors

from ..index.small_index import DIMENSION, small_ivfpq, units

D = 4
MARK = mark_of("the query")
MANY = 1000


def underived(directory: Path, reader: CatalogueReader, report: Report, training: Training) -> None:
    raise AssertionError("these tests build no index")


def unread(rows: NDArray[np.int64]) -> list[dict[str, object]]:
    raise AssertionError("pages alone need no metadata")


@dataclass
class Stored:
    """A version of an item."""

    row: int
    vector: NDArray[np.float32]
    group: str | None


@dataclass
class World:
    """A collection, what lives in it, and every version there ever was."""

    data: DataDirectory
    rng: np.random.Generator
    living: dict[str, Stored] = field(default_factory=dict)
    versions: dict[int, tuple[str, Stored]] = field(default_factory=dict)

    def unit(self) -> NDArray[np.float32]:
        drawn = self.rng.standard_normal(D)
        stored: NDArray[np.float32] = (drawn / np.linalg.norm(drawn)).astype(np.float16).astype(np.float32)
        return stored

    def upsert(self, *ids: str) -> None:
        items, versions = [], []
        for item_id in ids:
            group = [None, "red", "green", "blue"][self.rng.integers(4)]
            versions.append(Stored(-1, self.unit(), group))
            metadata = metadata_json({} if group is None else {"look": {"colour": group}})
            items.append(Item(item_id, metadata, versions[-1].vector.astype(np.float16)))
        for item_id, version, row in zip(ids, versions, self.write(Upsert(items)).rows.tolist(), strict=True):
            version.row = row
            self.living[item_id] = version
            self.versions[row] = item_id, version

    def delete(self, *ids: str) -> None:
        self.write(Delete(ids))
        for item_id in ids:
            self.living.pop(item_id, None)

    def write(self, mutation: Upsert | Delete) -> Applied:
        (applied,) = self.data.collection("").write([mutation])
        assert isinstance(applied, Applied), applied
        return applied

    def page(
        self,
        query: NDArray[np.float32],
        shape: Shape,
        top_k: int,
        max_depth: int = MANY,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> tuple[Hits, str]:
        """A page as the service makes it, and the token of the next; ``meanwhile`` happens before every round."""
        collection, searcher = self.data.collection(""), Searcher(self.data, RecallMonitor(0.0))
        page = open_page(collection, shape, top_k, max_depth, MARK)
        shown = frozenset(page.before.rows.tolist())
        probe = Probe(1, with_ids=False, with_vectors=True, shown=shown, view=page.view)

        async def nearest(k: int) -> Neighbours:
            meanwhile()
            (near,) = searcher.search(query[None], [replace(probe, top_k=k)])
            assert isinstance(near, Neighbours), near
            return near

        hits = asyncio.run(fill_page(page, collection.metadata, nearest))
        return hits, "" if hits.next_before is None else token_of(hits.next_before, MARK)

    def expected(self, query: NDArray[np.float32], shape: Shape, newest: int, shown: list[int]) -> list[int]:
        """All further hits by definition: the best first, unless a hit shown or better stands for it."""
        hits = [self.versions[row][1] for row in shown]
        candidates = [one for one in self.living.values() if one.row <= newest and one.row not in shown]
        for one in sorted(candidates, key=lambda one: -float(one.vector @ query)):
            if shape.group_by and one.group is not None and any(hit.group == one.group for hit in hits):
                continue
            if shape.collapse_above is None or all(cosine(one, hit) < shape.collapse_above for hit in hits):
                hits.append(one)
        return [hit.row for hit in hits[len(shown) :]]


def cosine(one: Stored, other: Stored) -> float:
    return float(one.vector @ other.vector / np.linalg.norm(one.vector) / np.linalg.norm(other.vector))


@contextmanager
def world(seed: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "FIRST_DEPTH", 4)
        patch.setattr(rounds, "DEEPER", 2)
        patch.setattr(rounds, "BLOCK", 3)
        options = CollectionOptions(D, "ab" * 32, underived, device="cpu", threads=1, rebuild_by_itself=False)
        data = DataDirectory(Path(directory), options)
        with closing(data):
            yield World(data, np.random.default_rng(seed))


IDS = st.lists(st.integers(0, 39).map("i{:02}".format), min_size=1, max_size=8, unique=True)
WRITES = st.lists(st.tuples(st.booleans(), IDS), max_size=2)
SHAPES = st.builds(
    Shape,
    offset=st.sampled_from([0, 0, 3]),
    paged=st.just(True),
    group_by=st.sampled_from(["", "look.colour"]),
    collapse_above=st.sampled_from([None, 0.6, 0.9]),
)


@pytest.mark.parametrize("shape", [Shape(paged=True), Shape(group_by="look.colour"), Shape(collapse_above=0.9)])
def test_a_page_is_of_one_state_whatever_is_written_while_it_is_filled(shape: Shape) -> None:
    with world(7) as one:
        one.upsert(*(f"i{n}" for n in range(20)))
        query = one.unit()
        expected = one.expected(query, shape, newest=19, shown=[])

        def meanwhile() -> None:
            one.upsert("i3", "new")
            one.delete("i5")

        hits, _ = one.page(query, shape, 20, meanwhile=meanwhile)
        assert (hits.rows.tolist(), hits.seq) == (expected, 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 99), st.integers(1, 30), SHAPES, st.lists(st.tuples(WRITES, st.integers(1, 7)), max_size=8))
def test_pages_under_writes_are_what_is_left(
    seed: int, items: int, shape: Shape, steps: list[tuple[list[tuple[bool, list[str]]], int]]
) -> None:
    with world(seed) as made:
        made.upsert(*(f"i{n:02}" for n in range(items)))
        query, newest = made.unit(), items - 1
        shown: list[int] = []
        ids: list[str] = []
        token = ""
        for n, (writes, top_k) in enumerate([([], 5), *steps]):
            for upserting, some in writes:
                (made.upsert if upserting else made.delete)(*some)
            wanted = replace(shape, offset=0, page_token=token) if n else shape
            left = made.expected(query, shape, newest, shown)
            hits, token = made.page(query, wanted, top_k)
            used = left[: wanted.offset + top_k]
            assert hits.rows.tolist() == used[wanted.offset :]
            assert bool(token) == (len(left) > len(used))
            ids += [made.versions[row][0] for row in hits.rows.tolist()]
            shown += used
            if not token:
                break
        assert len(ids) == len(set(ids)), "no item comes twice"


def test_what_stays_comes_exactly_once_while_others_come_and_go() -> None:
    with world(1) as made:
        stays = [f"i{n:02}" for n in range(40) if n % 3]
        made.upsert(*(f"i{n:02}" for n in range(40)))
        query, token, seen, turn = made.unit(), "", [], 0
        while not seen or token:
            hits, token = made.page(query, Shape(paged=True, page_token=token), 4)
            seen += [made.versions[row][0] for row in hits.rows.tolist()]
            made.upsert(f"i{turn:02}", *(f"new{turn}-{n}" for n in range(9)))
            made.delete(f"i{turn + 3:02}")
            turn += 6
        assert len(seen) == len(set(seen))
        assert set(stays) <= set(seen) <= {f"i{n:02}" for n in range(40)}


def test_a_group_shown_by_an_item_that_was_deleted_stays_shown() -> None:
    with world(2) as made:
        made.upsert(*(f"i{n:02}" for n in range(30)))
        query, shape = made.unit(), Shape(paged=True, group_by="look.colour", collapse_above=0.95)
        hits, token = made.page(query, shape, 3)
        made.delete(*(made.versions[row][0] for row in hits.rows.tolist()))
        groups = [made.versions[row][1].group for row in hits.rows.tolist()]
        rest, _ = made.page(query, replace(shape, page_token=token), 20)
        groups += [made.versions[row][1].group for row in rest.rows.tolist()]
        named = [group for group in groups if group is not None]
        assert len(named) == len(set(named)) == 3


def test_no_more_is_looked_at_than_the_depth_allows() -> None:
    with world(3) as made:
        made.upsert(*(f"i{n:02}" for n in range(40)))
        query = made.unit()
        whole, _ = made.page(query, Shape(group_by="look.colour"), 40)
        cut, token = made.page(query, Shape(paged=True, group_by="look.colour"), 10, max_depth=10)
        assert cut.rows.tolist() == [row for row in whole.rows.tolist() if row in cut.rows] != whole.rows.tolist()
        assert token == ""
        _, token = made.page(query, Shape(paged=True), 6, max_depth=10)
        with pytest.raises(SearchTooDeep) as caught:
            made.page(query, Shape(paged=True, page_token=token), 5, max_depth=10)
        assert (caught.value.field, caught.value.metadata["depth"]) == ("page_token", "11")
        last, _ = made.page(query, Shape(paged=True, page_token=token), 4, max_depth=10)
        assert len(last.rows) == 4


def test_a_token_of_rows_that_were_never_there_is_refused() -> None:
    with world(4) as made:
        made.upsert("a")
        foreign = token_of(Before(99, np.array([7, 99], np.int64)), MARK)
        with pytest.raises(BadPageToken):
            made.page(made.unit(), Shape(page_token=foreign, group_by="look"), 3)


def test_depths_are_the_same_steps_from_wherever_one_starts() -> None:
    assert list(depths(1, 10_001)) == [128, 512, 2048, 8192, 10_001]
    assert list(depths(129, 10_001)) == [512, 2048, 8192, 10_001]
    assert list(depths(10_000, 10_001)) == [10_001]
    assert list(depths(5, 6)) == [6]


@pytest.mark.parametrize(
    ("shape", "error", "field"),
    [
        (Shape(offset=-1), BadOffset, "offset"),
        (Shape(offset=1, page_token="x"), BadOffset, "offset"),
        (Shape(offset=91), SearchTooDeep, "offset"),
        (Shape(collapse_above=0.0), BadCollapse, "collapse_above"),
        (Shape(collapse_above=1.0), BadCollapse, "collapse_above"),
        (Shape(collapse_above=float("nan")), BadCollapse, "collapse_above"),
    ],
)
def test_what_cannot_be_asked_for(shape: Shape, error: type[ClipsearchError], field: str) -> None:
    with pytest.raises(error) as caught:
        check_shape(shape, 10, 100)
    assert caught.value.field == field


@pytest.mark.parametrize("group_by", ["a b", "a = 1", "NOT a", "a:* AND b", "(a", "a.", "1a", '""', ".".join("a" * 17)])
def test_only_a_field_groups(group_by: str) -> None:
    with world(5) as made, pytest.raises(BadGroupField) as caught:
        made.page(made.unit(), Shape(group_by=group_by), 3)
    assert caught.value.field == "group_by"


@pytest.mark.parametrize("seed", range(5))
def test_pages_of_an_approximate_index_lose_nothing_that_it_can_find(seed: int) -> None:
    """As many candidates as hits, chosen by their codes from half of the lists: another depth, another answer."""
    rng = np.random.default_rng(seed)
    vectors = units(rng, 600)
    live = LiveIndex(DIMENSION, small_ivfpq(vectors, nprobe=2, overfetch=1.0), np.arange(600, dtype=np.int64), 1)
    query = units(rng, 1)

    def found(k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        scores, rows = live.view.search(query, k)
        return scores[0, : (count := int((rows[0] >= 0).sum()))], rows[0, :count]

    shown: list[int] = []
    before: Before | None = Before(599, np.empty(0, np.int64))
    while before is not None:
        held = before.rows

        async def nearest(k: int, held: NDArray[np.int64] = held) -> Neighbours:
            scores, rows = found(k + len(held))
            fresh = ~np.isin(rows, held)
            return Neighbours(rows[fresh][:k], [], scores[fresh][:k], None, 1, 0.0)

        nothing = Suppressors(set(), np.empty((0, D), np.float32))
        page = Page(Shape(paged=True), 10, MANY, before, (), nothing, live.view)
        hits = asyncio.run(fill_page(page, unread, nearest))
        assert (np.diff(hits.scores) <= 0).all()
        shown += hits.rows.tolist()
        before = hits.next_before
    assert len(shown) == len(set(shown))
    assert set(shown) == set(found(600)[1].tolist()), "what the deepest search finds, and nothing twice"
    first = found(FIRST_DEPTH)[1].tolist()[:120]
    assert found(20)[1].tolist() != first[:20], "else this says nothing"
    assert shown[:120] == first, "pages of one depth are cut from one list"
