"""Which places of a batch a packed text graph is told to compute."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.encoders.packing import KEPT, ROWS, packing


def test_tokens_are_kept_and_padding_is_not() -> None:
    places = packing((3, 4), [2, 4, 1])
    assert places[KEPT].tolist() == [0, 1, 4, 5, 6, 7, 8]
    assert places[ROWS][1].tolist() == [2, 3, 4, 5]
    assert places[ROWS][0, :2].tolist() == [0, 1]
    assert places[ROWS][2, 0] == 6


def test_without_lengths_all_is_kept() -> None:
    places = packing((2, 3), None)
    assert places[KEPT].tolist() == list(range(6))
    assert places[ROWS].tolist() == [[0, 1, 2], [3, 4, 5]]


@given(st.lists(st.integers(1, 77), min_size=1, max_size=40), st.integers(0, 5))
def test_what_is_spread_out_comes_back(lengths: list[int], spare: int) -> None:
    shape = len(lengths), max(lengths) + spare
    places = packing(shape, lengths)
    assert places[KEPT].dtype == places[ROWS].dtype == np.int64
    assert places[ROWS].shape == shape
    tokens = np.arange(sum(lengths)) * 10
    spread = tokens[places[ROWS]]  # would raise for a row that is none
    np.testing.assert_array_equal(spread.reshape(-1)[places[KEPT]], tokens)
    for row, length in zip(spread, lengths, strict=True):
        assert len(set(row[:length])) == length
