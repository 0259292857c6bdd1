"""Building again without training: the vectors are added to the centroids and codewords of the index before.

What that index holds already keeps its list and its code, since a row never changes: both are moved, which is a copy of
some 72 bytes. Only newer vectors are assigned and encoded. At a million vectors of 512 assigning all of them would be
4 · 10¹² operations, most of what is left of a build once it does not train.
"""

import logging
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import UnusableIndex
from clipsearch.index.base import positions_of
from clipsearch.index.drift import assignment_drift, training_due
from clipsearch.index.inverted import empty_like, move_codes
from clipsearch.index.kmeans import Match
from clipsearch.index.lists import centroids_of
from clipsearch.index.manifest import IvfPq
from clipsearch.index.matching import NearestByProduct
from clipsearch.index.rows import ROWS, open_rows
from clipsearch.index.rules import choose_m
from clipsearch.index.storage import IVFPQ, check_files, find_snapshots, read_ivfpq, read_manifest
from clipsearch.index.train import add
from clipsearch.index.tuning import Report
from clipsearch.ports import Rows, Vectors

logger = logging.getLogger(__name__)

DRIFT_SAMPLE = 1000
"""Vectors that tell the drift, and that tell the misfit of what was trained on."""


@dataclass(frozen=True, slots=True)
class Trained:
    """An earlier index of the collection: ``rows`` int64 of its positions, its parameters, and ``ivf`` on the CPU."""

    ivf: Any
    rows: Rows
    parameters: IvfPq


def find_trained(collection: Path, dimension: int, model_hash: str | None, seq: int) -> Trained | None:
    """Return the newest index of a collection directory, None where nothing of it can be used.

    That is: there is none, it is exact, of another history (another model, or newer than ``seq``), or damaged.
    """
    found = find_snapshots(collection)
    if not found:
        return None
    try:
        manifest = read_manifest(found[-1])
        if manifest.ivfpq is None or manifest.ivfpq.m != choose_m(dimension):
            return None
        if (manifest.dimension, manifest.model_hash) != (dimension, model_hash) or manifest.seq > seq:
            return None
        # With their hashes: whatever is wrong with these files would live on in the new index.
        check_files(found[-1], manifest, hashes=True, names=(IVFPQ, ROWS))
        return Trained(read_ivfpq(found[-1], manifest), open_rows(found[-1], manifest.size), manifest.ivfpq)
    except UnusableIndex as error:
        logger.warning("its training cannot be taken over: %s", error)
        return None


def reason_to_train(trained: Trained, rows: Rows, matrix: NDArray[np.float16], seed: int) -> str:
    """Return why vectors float16 [N, d] of ``rows`` int64 [N] call for training; empty where ``trained`` fits them."""
    training = trained.parameters.training
    unseen = np.flatnonzero(rows >= training.end_row)
    new = sample_of(matrix, unseen, seed)
    drift = assignment_drift(new, centroids_of(trained.ivf), training.misfit)
    logger.info("%d of %d vectors are newer than the training, drift %.2f", len(unseen), len(rows), drift)
    return training_due(len(rows), trained.parameters.nlist, len(unseen), drift)


def sample_of(matrix: NDArray[np.float16], positions: Rows, seed: int) -> Vectors:
    """Return up to ``DRIFT_SAMPLE`` of the vectors at some positions, float32 [n, d]."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(positions, min(DRIFT_SAMPLE, len(positions)), replace=False)
    sample: Vectors = matrix[np.sort(chosen)].astype(np.float32)
    return sample


def readd(
    trained: Trained,
    rows: Rows,
    matrix: NDArray[np.float16],
    pool: Executor,
    report: Report,
    *,
    match: Match = NearestByProduct,
) -> Any:
    """Return a ``faiss.IndexIVFPQ`` of vectors float16 [N, d] of ``rows`` int64 [N] with what was trained before."""
    ivf = empty_like(trained.ivf)
    before = positions_of(trained.rows, rows)
    kept = np.flatnonzero(before >= 0)
    after = np.full(len(trained.rows), -1, dtype=np.int64)
    after[before[kept]] = kept
    move_codes(trained.ivf, ivf, after)
    add(ivf, matrix, np.flatnonzero(before < 0), pool, report, match=match)
    return ivf
