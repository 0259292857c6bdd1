"""Which places of a batch a packed text graph is told to compute."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.encoders.packing import KEPT, ROWS, Places, every_place, packing

TEXTS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=12), min_size=1, max_size=20)
"""Of so few different tokens that many begin alike."""


def padded(texts: list[list[int]], pad: int, spare: int = 0) -> Places:
    """Texts as a batch, int64 [n, longest and ``spare`` more]."""
    ids = np.full((len(texts), max(map(len, texts)) + spare), pad, dtype=np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    return ids


def test_padding_is_not_computed_and_beginnings_once() -> None:
    texts = [[7, 1, 9], [7, 2, 3, 9], [7, 1, 4, 9]]
    places = packing(padded(texts, 9), [3, 4, 4])
    assert places[KEPT].tolist() == [8, 9, 10, 11, 2, 5, 6, 7]  # the third, what the first has besides, the second
    assert places[ROWS].tolist()[1:] == [[0, 5, 6, 7], [0, 1, 2, 3]]
    assert places[ROWS][0, :3].tolist() == [0, 1, 4]  # what stands for its padding does not matter


def test_texts_that_are_the_same_are_computed_once() -> None:
    places = packing(padded([[7, 1, 9]] * 3, 9), [3, 3, 3])
    assert places[KEPT].tolist() == [0, 1, 2]
    assert places[ROWS].tolist() == [[0, 1, 2]] * 3


def test_a_batch_of_which_all_is_computed() -> None:
    places = every_place(2, 3)
    assert places[KEPT].tolist() == list(range(6))
    assert places[ROWS].tolist() == [[0, 1, 2], [3, 4, 5]]


@given(TEXTS, st.integers(1, 3), st.integers(0, 4))
def test_each_token_is_stood_for_by_one_with_the_same_beginning(texts: list[list[int]], pad: int, spare: int) -> None:
    """Padding may look like any token, the texts' own too."""
    ids = padded(texts, pad, spare)
    places = packing(ids, [len(text) for text in texts])
    assert places[KEPT].dtype == places[ROWS].dtype == np.int64
    assert places[ROWS].shape == ids.shape
    beginnings = [
        tuple(texts[text][: place + 1]) for text, place in (divmod(one, ids.shape[1]) for one in places[KEPT])
    ]
    for row, text in zip(places[ROWS], texts, strict=True):
        assert [beginnings[one] for one in row[: len(text)]] == [tuple(text[: n + 1]) for n in range(len(text))]
    assert places[ROWS].min() >= 0
    assert places[ROWS].max() < len(beginnings)


@given(TEXTS)
def test_no_beginning_is_computed_twice(texts: list[list[int]]) -> None:
    """With an end token that stands nowhere else, as tokenizers give it, so that order finds all that is alike."""
    texts = [[*text, 9] for text in texts]
    places = packing(padded(texts, 9), [len(text) for text in texts])
    assert len(places[KEPT]) == len({tuple(text[: n + 1]) for text in texts for n in range(len(text))})
