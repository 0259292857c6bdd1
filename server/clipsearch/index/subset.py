"""Exact search of a selection from the float16 re-rank vectors.

FAISS scores float16 vectors in C++; widening them in numpy alone costs 3 ns per coordinate, several times the product.
"""

from typing import Any

import faiss
import numpy as np

from clipsearch.index.exact import Scores
from clipsearch.index.lists import bit_selector
from clipsearch.index.planner import EXACT_ROWS
from clipsearch.index.vectors import VectorFile
from clipsearch.ports import Rows, Vectors
from clipsearch.selection import Selection

# The stubs of faiss do not know the keyword constructors of its parameter classes.
_faiss: Any = faiss


def search_selected(file: VectorFile, queries: Vectors, k: int, only: Selection) -> tuple[Scores, Rows]:
    """Return (scores [n, k], positions [n, k]) of the best selected vectors, padded with -inf and -1.

    A small root's vectors are gathered once, 2·d bytes each, and kept with it; of a large one nothing is copied, but
    every query then looks at every bit (2.5 ns each).
    """
    if only.root.count > EXACT_ROWS:
        return scan(file.faiss_index, queries, k, only)
    positions, gathered = only.root.derive("subset", lambda: _gather(file, only.root))
    inside = None
    if only is not only.root:
        inside = only.derive("in subset", lambda: _inside(only, positions))
    scores, found = scan(gathered, queries, k, inside)
    return scores, np.where(found < 0, -1, positions.take(found, mode="clip")) if len(positions) else found


def _gather(file: VectorFile, root: Selection) -> tuple[Rows, Any]:
    positions = root.positions
    dimension = file.matrix.shape[1]
    gathered = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    if len(positions):
        gathered.add_sa_codes(np.asarray(file.matrix)[positions].view(np.uint8))
    return positions, gathered


def _inside(only: Selection, positions: Rows) -> Selection:
    return Selection.of(len(positions), np.flatnonzero(only.contains(positions)))


def scan(index: Any, queries: Vectors, k: int, only: Selection | None) -> tuple[Scores, Rows]:
    """Compare with every selected vector of a FAISS scalar-quantiser index, whatever that costs."""
    parameters = None if only is None else _faiss.SearchParameters(sel=bit_selector(only))
    scores, found = index.search(np.ascontiguousarray(queries), k, params=parameters)
    return np.where(found < 0, np.float32(-np.inf), scores), found
