"""Selections against sets, and the flat index through them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch.index.flat import GATHER_UP_TO, FlatIndex
from clipsearch.selection import Selection

from .small_index import units

sizes = st.integers(1, 70)


@given(size=sizes, data=st.data())
@settings(deadline=None)
def test_a_selection_is_a_set(size: int, data: st.DataObject) -> None:
    positions = st.sets(st.integers(0, size - 1))
    chosen, dead, later = (data.draw(positions) for _ in range(3))
    everything = Selection.everything(size)
    assert everything.positions.tolist() == list(range(size)) and everything.count == size

    def array(some: set[int]) -> np.ndarray:
        return np.array(sorted(some), dtype=np.int64)

    only = Selection.of(size, array(chosen))
    alive = everything.without(array(dead)).without(array(later - dead))
    both = only.restricted(alive)
    for selection, wanted in (
        (only, chosen),
        (alive, set(range(size)) - dead - later),
        (both, chosen - dead - later),
        (everything, set(range(size))),
    ):
        assert set(selection.positions.tolist()) == wanted
        assert selection.count == len(wanted) == selection.mask.sum()
        assert selection.contains(np.arange(size)).tolist() == selection.mask.tolist()
        assert len(selection.bits) == -(-size // 8)
        assert set(selection.root.positions.tolist()) - set(selection.excluded.tolist()) == wanted
    assert alive.root is everything and both.root is only
    assert sorted(both.excluded.tolist()) == sorted(chosen & (dead | later))


@given(size=sizes, data=st.data())
@settings(deadline=None)
def test_a_part_of_a_selection_is_a_selection(size: int, data: st.DataObject) -> None:
    chosen, dead = (data.draw(st.sets(st.integers(0, size - 1))) for _ in range(2))
    start = data.draw(st.sampled_from(range(0, size, 8)))
    stop = data.draw(st.sampled_from([*range(start + 8, size, 8), size]))
    only = Selection.of(size, np.array(sorted(chosen), dtype=np.int64))
    gone = np.array(sorted(chosen & dead), dtype=np.int64)
    for selection, wanted in ((only, chosen), (only.without(gone), chosen - dead)):
        part = selection.part(start, stop)
        inside = {position - start for position in wanted if start <= position < stop}
        assert set(part.positions.tolist()) == inside
        assert (part.size, part.count, len(part.bits)) == (stop - start, len(inside), -(-(stop - start) // 8))
        assert set(part.root.positions.tolist()) - set(part.excluded.tolist()) == inside
        assert selection.part(start, stop) is part
    # What an index derives from a root outlives the tombstones, in parts as well.
    assert only.without(gone).part(start, stop).root is only.part(start, stop)


def test_derived_forms_are_made_once() -> None:
    made = itertools.count()
    only = Selection.of(9, np.array([3]))
    assert [only.derive("form", lambda: f"form {next(made)}") for _ in range(3)] == ["form 0"] * 3
    assert only.derive("other", lambda: f"form {next(made)}") == "form 1"


@pytest.mark.parametrize("share", [0.0, GATHER_UP_TO / 2, GATHER_UP_TO * 2, 1.0])
@pytest.mark.parametrize("queries", [0, 1, 40])
def test_the_flat_index_finds_only_what_is_selected(share: float, queries: int) -> None:
    rng = np.random.default_rng(7)
    vectors, asked = units(rng, 900), units(rng, queries)
    index = FlatIndex(vectors)
    only = Selection.of(900, np.sort(rng.choice(900, int(share * 900), replace=False)))
    dead = Selection.everything(900).without(np.sort(rng.choice(900, 300, replace=False)))
    for selection in (only, only.restricted(dead), dead, only):
        kept = selection.positions
        scores, found = index.search(asked, 70, only=selection)
        n = min(70, len(kept))
        wanted = asked @ vectors[kept].T
        np.testing.assert_allclose(scores[:, :n], -np.sort(-wanted, axis=1)[:, :n], atol=1e-6)
        assert np.isin(found[:, :n], kept).all()
        assert (found[:, n:] == -1).all() and np.isneginf(scores[:, n:]).all()
        np.testing.assert_allclose(scores[:, :n], np.einsum("nd,nkd->nk", asked, vectors[found[:, :n]]), atol=1e-6)
