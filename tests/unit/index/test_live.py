"""The live index against a dictionary: writes, new bases, filters, old views."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipsearch.errors import TopKOutOfRange, UnusableIndex, WrongDimension
from clipsearch.index import planner
from clipsearch.index.allowed import AllowedRows
from clipsearch.index.delta import FIRST_CAPACITY
from clipsearch.index.flat import FlatIndex
from clipsearch.index.live import LiveIndex
from clipsearch.index.spread import Replicas, Shards, bounds
from clipsearch.index.view import View
from clipsearch.ports import VectorIndex

from .small_index import DIMENSION, NLIST, small_ivfpq, units

Float32 = NDArray[np.float32]
Living = dict[int, Float32]

POOL = units(np.random.default_rng(1), 40)
"""Few different vectors, so that equal scores are common."""

QUERIES = units(np.random.default_rng(2), 5)
NO_ROWS = np.empty(0, dtype=np.int64)
NO_VECTORS = np.empty((0, DIMENSION), dtype=np.float32)


def rows(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def make_base(living: Living, kind: str) -> tuple[VectorIndex, NDArray[np.int64]]:
    held = np.array(sorted(living), dtype=np.int64)
    vectors = np.array([living[row] for row in held.tolist()], dtype=np.float32).reshape(-1, DIMENSION)
    match kind:
        case "flat":
            return FlatIndex(vectors), held
        case "ivfpq":
            return small_ivfpq(vectors), held
        case "shards":
            cut = bounds(len(vectors), 3)
            return Shards([small_ivfpq(vectors[start:stop]) for start, stop in cut], [start for start, _ in cut]), held
        case _:
            return Replicas([small_ivfpq(vectors), small_ivfpq(vectors)]), held


def check(view: View, living: Living, k: int, allowed: AllowedRows | None = None) -> None:
    """Everything that a search promises, by comparing with every vector."""
    keep = sorted(living) if allowed is None else sorted(set(living) & set(allowed.rows.tolist()))
    vectors = np.array([living[row] for row in keep], dtype=np.float32).reshape(-1, DIMENSION)
    scores, found = view.search(QUERIES, k, None, allowed)
    assert scores.shape == found.shape == (len(QUERIES), k)
    assert scores.dtype == np.float32 and found.dtype == np.int64
    n = min(k, len(keep))
    assert (found[:, n:] == -1).all() and np.isneginf(scores[:, n:]).all()
    assert not np.isnan(scores).any()
    np.testing.assert_allclose(scores[:, :n], -np.sort(-(QUERIES @ vectors.T), axis=1)[:, :n], atol=1e-5)
    for query, some_scores, some_rows in zip(QUERIES, scores[:, :n], found[:, :n], strict=True):
        assert set(some_rows.tolist()) <= set(keep) and len(set(some_rows.tolist())) == n
        np.testing.assert_allclose(some_scores, [living[row] @ query for row in some_rows.tolist()], atol=1e-5)
        falling = some_scores[1:] < some_scores[:-1]
        assert (falling | ((some_scores[1:] == some_scores[:-1]) & (some_rows[1:] > some_rows[:-1]))).all()


@dataclass
class World:
    """A live index, what must be in it, and the past."""

    live: LiveIndex
    living: Living = field(default_factory=dict)
    seq: int = 0
    next_row: int = 0
    past: list[tuple[View, Living]] = field(default_factory=list)

    def write(self, adds: int, removes: int, rng: np.random.Generator) -> None:
        """Add rows, remove others: of the base, of the delta, of this very write, and some that are long gone."""
        added = self.next_row + np.cumsum(rng.integers(1, 4, adds))
        vectors = POOL[rng.integers(0, len(POOL), adds)]
        held = [*self.living, *added.tolist()]
        removed = rng.choice(held, min(removes, len(held)), replace=False).astype(np.int64) if held else NO_ROWS
        gone = rng.integers(0, self.next_row + 1, 2)
        gone = gone[~np.isin(gone, held)]
        self.seq += int(rng.integers(1, 4))
        self.past.append((self.live.view, dict(self.living)))
        given = vectors.astype(np.float16) if rng.random() < 0.5 else vectors
        self.live.apply(added, given, np.concatenate([removed, gone, removed[:1]]), self.seq)
        self.living.update(zip(added.tolist(), vectors, strict=True))
        for row in removed.tolist():
            del self.living[row]
        self.next_row = int(added[-1]) + 1 if adds else self.next_row

    def swap(self, kind: str, ago: int) -> None:
        """Put in a base that was built some writes ago."""
        view, living = [*self.past, (self.live.view, self.living)][-1 - min(ago, len(self.past))]
        if view.seq < self.live.base_seq:
            return
        self.past.append((self.live.view, dict(self.living)))
        self.live.swap(*make_base(living, kind), view.seq)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 30), st.integers(0, 12)),
        st.tuples(st.just("swap"), st.sampled_from(["flat", "ivfpq", "shards", "replicas"]), st.integers(0, 3)),
        st.tuples(st.just("clear"), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@pytest.mark.parametrize("exact_rows", [0, planner.EXACT_ROWS])
@given(steps=STEPS, k=st.integers(1, 40), share=st.sampled_from([0.0, 0.05, 0.5, 1.0]), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_a_live_index_answers_as_its_model(
    exact_rows: int, steps: list[tuple[str, int, int]], k: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    world = World(LiveIndex(DIMENSION, None, NO_ROWS, 0))
    allowed = AllowedRows(NO_ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "EXACT_ROWS", exact_rows)
        for name, one, other in steps:
            before = world.next_row
            if name == "write":
                world.write(one, other, rng)
            elif name == "swap":
                world.swap(str(one), other)
            else:
                world.write(0, len(world.living), rng)
            newer = np.arange(before, world.next_row)
            allowed = allowed.extended(newer[rng.random(len(newer)) < share])
            view = world.live.view
            assert (view.seq, view.size) == (world.seq, len(world.living))
            assert view.living_rows().tolist() == sorted(world.living)
            check(view, world.living, k)
            check(view, world.living, k, allowed)
            check(view, world.living, k, allowed)  # now from what was worked out before
        for view, living in world.past:
            check(view, living, k)
            check(view, living, k, allowed)
            assert view.living_rows().tolist() == sorted(living)
            held = rng.permutation(sorted(living)).astype(np.int64)
            wanted = np.array([living[row] for row in held.tolist()], dtype=np.float32).reshape(-1, DIMENSION)
            np.testing.assert_array_equal(view.vectors(held), wanted)


def live_of(n: int, kind: str = "flat") -> tuple[LiveIndex, Living]:
    living = {3 * row: POOL[row % len(POOL)] for row in range(n)}
    return LiveIndex(DIMENSION, *make_base(living, kind), 10), living


def test_an_empty_index_has_nothing_to_find() -> None:
    view = LiveIndex(DIMENSION, None, NO_ROWS, 0).view
    check(view, {}, 3)
    check(view, {}, 3, AllowedRows(rows(1, 2)))
    assert view.max_nprobe == 1 and len(view.living_rows()) == 0
    assert view.search(QUERIES[:0], 3)[1].shape == (0, 3)
    with pytest.raises(TopKOutOfRange):
        view.search(QUERIES, 0)


def test_an_update_changes_both_rows_at_once() -> None:
    live, _ = live_of(30)
    before = live.view
    live.apply(rows(100), QUERIES[:1], rows(0), 11)
    after = live.view
    others = list(range(3, 90, 3))
    assert before.living_rows().tolist() == [0, *others]
    assert after.living_rows().tolist() == [*others, 100]
    assert after.search(QUERIES[:1], 1)[1].tolist() == [[100]]
    assert (after.base_size, after.base_dead, after.delta_size, after.delta_dead, after.size) == (30, 1, 1, 0, 30)
    # An item written twice in one transaction: its first row never was.
    live.apply(rows(101, 102), QUERIES[:2], rows(101, 100), 13)
    view = live.view
    assert view.living_rows().tolist() == [*others, 102]
    assert (view.delta_size, view.delta_dead, view.size) == (3, 2, 30)


def test_old_views_keep_their_delta_while_it_grows() -> None:
    live, living = live_of(0)
    kept: list[tuple[View, Living]] = []
    for seq in range(11, 41):
        kept.append((live.view, dict(living)))
        added = np.arange(seq * 100, seq * 100 + 40)
        live.apply(added, POOL, rows(seq * 100 + 5, seq * 100 - 95), seq)
        living.update(zip(added.tolist(), POOL, strict=True))
        for row in (seq * 100 + 5, seq * 100 - 95):
            living.pop(row, None)
    assert live.view.delta_size == 1200 > 4 * FIRST_CAPACITY
    for view, then in [*kept, (live.view, living)]:
        check(view, then, 50)


def test_a_new_base_takes_over_what_it_holds() -> None:
    live, living = live_of(30)
    live.apply(rows(100, 101, 102), POOL[:3], rows(0, 101), 11)
    living.update({100: POOL[0], 102: POOL[2]})
    del living[0]
    base = make_base(living, "ivfpq")
    live.apply(rows(103), POOL[3:4], rows(3, 100), 12)
    del living[3], living[100]
    living[103] = POOL[3]
    live.swap(*base, 11)
    view = live.view
    assert (view.seq, live.base_seq) == (12, 11)
    assert (view.base_size, view.base_dead, view.delta_size, view.delta_dead) == (31, 2, 1, 0)
    assert view.max_nprobe == NLIST
    check(view, living, 40)


def test_a_base_that_does_not_belong_here_changes_nothing() -> None:
    live, living = live_of(30)
    live.apply(rows(100, 101), POOL[:2], NO_ROWS, 11)
    living.update({100: POOL[0], 101: POOL[1]})
    before = live.view
    index, held = make_base(living, "flat")
    with pytest.raises(UnusableIndex, match=r"writes are known up to 11"):
        live.swap(index, held, 12)
    with pytest.raises(UnusableIndex, match=r"32 vectors cannot have these 31 rows"):
        live.swap(index, held[1:], 11)
    with pytest.raises(UnusableIndex, match=r"cannot have these"):
        live.swap(index, held[::-1], 11)
    lacking = {row: vector for row, vector in living.items() if row != 100}
    with pytest.raises(UnusableIndex, match=r"lacks row 100"):
        live.swap(*make_base(lacking, "flat"), 11)
    with pytest.raises(WrongDimension):
        live.swap(FlatIndex(np.eye(3, dtype=np.float32)), rows(0, 1, 2), 11)
    assert live.view is before
    check(before, living, 40)


def test_writes_that_cannot_be_are_refused() -> None:
    live, living = live_of(30)
    live.apply(rows(100), POOL[:1], NO_ROWS, 11)
    living[100] = POOL[0]
    before = live.view
    with pytest.raises(ValueError, match="sequence number 11 comes after 11"):
        live.apply(NO_ROWS, NO_VECTORS, NO_ROWS, 11)
    for wrong in (rows(100, 101), rows(50, 101), rows(102, 101), rows(101, 101)):
        with pytest.raises(ValueError, match="must ascend"):
            live.apply(wrong, POOL[:2], NO_ROWS, 12)
    with pytest.raises(ValueError, match="cannot have vectors"):
        live.apply(rows(101), POOL[:2], NO_ROWS, 12)
    with pytest.raises(WrongDimension):
        live.apply(rows(101), POOL[:1, :4], NO_ROWS, 12)
    assert live.view is before
    check(before, living, 40)


def test_rows_that_are_not_held_have_no_vectors() -> None:
    live, living = live_of(3)
    live.apply(rows(100), POOL[:1], rows(0), 11)
    np.testing.assert_array_equal(live.view.vectors(rows(100, 0)), [POOL[0], living[0]])
    for wrong in (rows(1), rows(0, 100, 101)):
        with pytest.raises(ValueError, match="neither the base nor the delta"):
            live.view.vectors(wrong)


def test_a_filter_is_worked_out_once_and_lets_go_of_old_bases() -> None:
    live, living = live_of(30, "ivfpq")
    allowed = AllowedRows(rows(0, 3, 6, 7))
    view = live.view
    check(view, living, 5, allowed)
    assert view.base is not None
    known = allowed.in_base(view.base, view.alive)
    assert known.positions.tolist() == [0, 1, 2]
    live.apply(rows(100), POOL[:1], NO_ROWS, 11)
    more = allowed.extended(rows(100))
    assert more.in_base(view.base, live.view.alive) is known
    live.apply(NO_ROWS, NO_VECTORS, rows(3), 12)
    dead = live.view
    assert dead.base is not None and dead.alive is not None
    assert more.in_base(dead.base, dead.alive).positions.tolist() == [0, 2]
    assert more.in_base(dead.base, dead.alive) is more.in_base(dead.base, dead.alive)
    with pytest.raises(ValueError, match="ascending"):
        AllowedRows(rows(2, 1))
