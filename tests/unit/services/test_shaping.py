"""Choosing hits: groups, near-duplicates, both, in blocks of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipsearch.services.shaping import GroupKey, Picker, Suppressors, directions, group_key

Float32 = NDArray[np.float32]
Keys = list[GroupKey | None]


def circle(*degrees: float) -> Float32:
    """Unit vectors in the plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def picked(
    keys: Keys | None,
    vectors: Float32 | None,
    *,
    above: float | None = None,
    want: int = 99,
    before: Suppressors | None = None,
    block: int = 3,
) -> list[int]:
    count = len(keys) if keys is not None else len(vectors) if vectors is not None else 0
    picker = Picker(want, before or Suppressors(set(), np.empty((0, 2), np.float32)), above)
    for start in range(0, count, block):
        part = slice(start, min(start + block, count))
        some_keys = None if keys is None else keys[part]
        picker.take(part.stop - start, some_keys, None if vectors is None else vectors[part])
    return picker.kept


@pytest.mark.parametrize(
    ("metadata", "path", "key"),
    [
        ({"n": 3}, ["n"], 3),
        ({"n": 3.0}, ["n"], 3),
        ({"n": "3"}, ["n"], '"3"'),
        ({"n": True}, ["n"], "true"),
        ({"n": "true"}, ["n"], '"true"'),
        ({"n": None}, ["n"], "null"),
        ({"n": ["b", "a"]}, ["n"], '["b", "a"]'),
        ({"n": {"y": 1, "x": 2}}, ["n"], '{"x": 2, "y": 1}'),
        ({"n": {"x": "é"}}, ["n", "x"], '"é"'),
        ({"n": {"x": 1}}, ["n", "y"], None),
        ({"n": "text"}, ["n", "x"], None),
        ({"n": ["x"]}, ["n", "0"], None),
        ({}, ["n"], None),
    ],
)
def test_a_group_is_a_value_of_its_type(metadata: dict[str, object], path: list[str], key: GroupKey | None) -> None:
    assert group_key(metadata, path) == key


def test_the_best_of_each_group_is_kept_and_those_without_one() -> None:
    assert picked(["a", None, "b", "a", None, "b", 1, 1.0], None) == [0, 1, 2, 4, 6]


def test_groups_shown_before_stay_away() -> None:
    assert picked(["a", "b", None], None, before=Suppressors({"a"}, np.empty((0, 2), np.float32))) == [1, 2]


def test_a_near_duplicate_of_a_hit_is_dropped_but_not_that_of_a_dropped_one() -> None:
    vectors = circle(0, 10, 20, 30, 40)
    assert picked(None, vectors, above=float(np.cos(np.radians(15)))) == [0, 2, 4]


def test_what_was_shown_before_is_no_hit_twice() -> None:
    before = Suppressors(set(), circle(90))
    assert picked(None, circle(0, 85, 45), above=float(np.cos(np.radians(15))), before=before) == [0, 2]


def test_a_norm_that_float16_bent_does_not_matter() -> None:
    assert picked(None, circle(0, 0) * np.float32(0.9993), above=0.9999) == [0]
    np.testing.assert_allclose(np.linalg.norm(directions(circle(3, 4) * 7), axis=1), 1, atol=1e-6)


def test_what_is_dropped_as_a_duplicate_leaves_its_group_free() -> None:
    assert picked(["a", "b", "b"], circle(0, 1, 90), above=0.9) == [0, 2]


def test_enough_is_enough() -> None:
    assert picked(["a", "a", "b", "c", "d"], None, want=2) == [0, 2]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 35)), max_size=30),
    st.sampled_from([0.5, 0.9, 0.99]),
    st.integers(1, 7),
    st.integers(1, 20),
)
def test_blocks_change_nothing(items: list[tuple[str | None, int]], above: float, block: int, want: int) -> None:
    """Against the definition, one candidate at a time."""
    vectors = circle(*(10.5 * step for _, step in items)).reshape(-1, 2)
    kept: list[int] = []
    for i, (key, _) in enumerate(items):
        if len(kept) == want or (key is not None and any(items[j][0] == key for j in kept)):
            continue
        if all(float(vectors[i] @ vectors[j]) < above for j in kept):
            kept.append(i)
    assert picked([key for key, _ in items], vectors, above=above, want=want, block=block) == kept
