"""The figures by which the sample model is judged, on rankings small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clipsearch_demo import quality
from clipsearch_demo.captions import Caption
from clipsearch_demo.catalogue.specs import generate_specs

_BASE = generate_specs(1, seed=1)[0]
_RED = replace(_BASE, kind="mug", colour="red", attributes=(("shape", "tall"),))
_BLUE = replace(_RED, colour="blue")
_HAT = replace(_BASE, kind="hat", colour="red", attributes=(("brim", "wide"),))


def test_top_rows_are_by_cosine_and_ties_go_to_the_lower_row() -> None:
    gallery = np.array([[0, 1], [1, 0], [1, 0]], dtype=np.float32)
    assert quality.top_rows(np.array([[1, 0]], dtype=np.float32), gallery, 3).tolist() == [[1, 2, 0]]


def test_exact_recall_counts_the_very_picture() -> None:
    ranked = np.array([[0, 1, 2], [2, 0, 1], [0, 1, 2]])
    assert quality.exact_recall(ranked, [0, 1, 1], (1, 2, 3)) == {
        "recall@1": pytest.approx(1 / 3, abs=1e-4),
        "recall@2": pytest.approx(2 / 3, abs=1e-4),
        "recall@3": 1.0,
    }


def test_matching_counts_any_picture_that_the_caption_describes() -> None:
    gallery = [_RED, _BLUE, _RED, _HAT]
    captions = [Caption("red mug", {"kind": "mug", "colour": "red"}), Caption("hat", {"kind": "hat"})]
    ranked = np.array([[1, 2], [0, 1]])
    assert quality.matching_recall(ranked, captions, gallery, (1, 2)) == {"recall@1": 0.0, "recall@2": 0.5}
    # Only one hat exists, so two places can't be filled with hats and that caption isn't counted.
    assert quality.matching_precision(ranked, captions, gallery, 2) == (0.5, 1)


def test_neighbour_precision_leaves_the_query_out() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    figures = quality.neighbour_precision(vectors, [_RED, _BLUE, _HAT], ("kind", "colour"), k=1)
    # red mug → blue mug, blue mug → red mug, hat → red mug.
    assert figures == {"kind": pytest.approx(2 / 3, abs=1e-4), "colour": pytest.approx(1 / 3, abs=1e-4)}
