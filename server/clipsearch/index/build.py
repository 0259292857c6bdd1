"""From a stream of vectors to an index directory: write, train, add, tune, publish."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from clipsearch.index.ids import write_ids
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.kmeans import assign, spherical_kmeans
from clipsearch.index.manifest import IndexManifest, IvfPq, Recall
from clipsearch.index.rules import POINTS_PER_CODEWORD, IvfPqShape, Kind, choose_kind, choose_shape
from clipsearch.index.storage import IVFPQ, VECTORS, describe_files, publish, start_building
from clipsearch.index.threads import available_cores, limit_blas, limit_openmp
from clipsearch.index.tuning import Report, Truth, find_truth, recall_of, tune
from clipsearch.index.vectors import VectorFile, VectorFileWriter, open_vectors
from clipsearch.ports import Vectors

ITERATIONS = 10
"""k-means steps of the coarse quantiser; FAISS's default for IVF."""

HELD_OUT = 1000
"""Picture queries used for tuning and measuring, half of them for each."""

_BLOCK = 16_384


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What a caller may ask of an index.

    ``recall_target`` is recall@10 against exact search, for every kind of query that was given; ``threads`` 0 means
    every core.
    """

    kind: Kind = Kind.AUTO
    recall_target: float = 0.95
    threads: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class IndexSource:
    """What to index: ``n`` unit vectors of ``dimension`` coordinates, and where they come from.

    ``blocks`` yields float16 [m, dimension] in row order, ``ids`` the ids in the same order. ``text_queries``, float32
    [q, dimension] of unit length, are tuned for as well where given. ``seq`` and ``model_hash`` go to the manifest.
    """

    n: int
    dimension: int
    blocks: Iterable[NDArray[np.float16]]
    ids: Iterable[str]
    seq: int
    model_hash: str | None = None
    text_queries: Vectors | None = None


@dataclass(frozen=True, slots=True)
class _Tuned:
    parameters: IvfPq | None = None
    image: Recall | None = None
    text: Recall | None = None


def build_index(
    collection: Path, source: IndexSource, options: IndexOptions | None = None, report: Report | None = None
) -> IndexManifest:
    """Build an index of ``source`` under ``collection`` and publish it; returns its manifest.

    Memory: the codes, the training sample and one block; vectors stay in the memory-mapped file. An interruption leaves
    a directory that the next build removes. ``report`` is called with stages ``writing``, ``training``, ``adding``,
    ``checking`` (exact search), ``tuning``.
    """
    options = options or IndexOptions()
    report = report or _silent
    began = time.monotonic()
    threads = options.threads or available_cores()
    limit_openmp(threads)
    limit_blas(threads)
    building = start_building(collection)
    vectors = _write(building, source, report)
    kind = choose_kind(source.n, options.kind)
    tuned = _Tuned()
    if kind is Kind.IVFPQ:
        shape = choose_shape(source.n, source.dimension)
        ivf = train_and_add(vectors.matrix, shape, options.seed, report)
        faiss.write_index(ivf, str(building / IVFPQ))
        index = IvfPqIndex(ivf, vectors, nprobe=shape.nprobe, overfetch=shape.overfetch, threads=threads)
        tuned = _tune(index, shape, source.text_queries, options, report)
    manifest = IndexManifest(
        seq=source.seq,
        kind="flat" if kind is Kind.FLAT else "ivfpq",
        size=source.n,
        dimension=source.dimension,
        ivfpq=tuned.parameters,
        recall_target=options.recall_target,
        image_recall=tuned.image,
        text_recall=tuned.text,
        model_hash=source.model_hash,
        seed=options.seed,
        faiss_version=faiss.__version__,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_s=round(time.monotonic() - began, 3),
        files=describe_files(building),
    )
    publish(building, manifest, collection)
    return manifest


def _write(building: Path, source: IndexSource, report: Report) -> VectorFile:
    done = 0
    with VectorFileWriter(building / VECTORS, source.n, source.dimension) as writer:
        for block in source.blocks:
            writer.append(block)
            done += len(block)
            report("writing", done, source.n)
    if write_ids(building, source.ids) != source.n:
        raise ValueError(f"as many ids as vectors are needed: {source.n}")
    return open_vectors(building / VECTORS, source.n, source.dimension)


def train_and_add(matrix: NDArray[np.float16], shape: IvfPqShape, seed: int, report: Report) -> Any:
    """Return a ``faiss.IndexIVFPQ`` trained on a sample of ``matrix`` [N, d] and filled with all of it."""
    n, d = matrix.shape
    rng = np.random.default_rng(seed)
    # Sorted: a memory-mapped file is read front to back.
    sample: Vectors = matrix[np.sort(rng.choice(n, shape.sample, replace=False))].astype(np.float32)
    steps = ITERATIONS + 1
    report("training", 0, steps)
    progress = _counting(report, "training", steps)
    centroids = spherical_kmeans(sample, shape.nlist, iterations=ITERATIONS, seed=seed, progress=progress)
    quantizer = faiss.IndexFlatIP(d)
    quantizer.add(centroids)
    ivf = faiss.IndexIVFPQ(quantizer, d, shape.nlist, shape.m, 8, faiss.METRIC_INNER_PRODUCT)
    ivf.pq.cp.max_points_per_centroid = POINTS_PER_CODEWORD
    # A small catalogue has fewer points than FAISS likes and would be told so on stderr; the floor is ours to judge.
    ivf.pq.cp.min_points_per_centroid = 1
    ivf.pq.cp.seed = seed + 1
    ivf.train(sample)
    progress(1)
    for start in range(0, n, _BLOCK):
        block = matrix[start : start + _BLOCK].astype(np.float32)
        labels, _ = assign(block, centroids)
        rows = np.arange(start, start + len(block), dtype=np.int64)
        ivf.add_core(len(block), faiss.swig_ptr(block), faiss.swig_ptr(rows), faiss.swig_ptr(labels))
        report("adding", start + len(block), n)
    return ivf


def _tune(
    index: IvfPqIndex, shape: IvfPqShape, text_queries: Vectors | None, options: IndexOptions, report: Report
) -> _Tuned:
    """Tune on held-out queries and measure on others; an index of one vector has nothing to measure."""
    matrix = index.matrix
    if len(matrix) < 2:
        return _Tuned(_parameters(shape, shape.nprobe, shape.overfetch))
    rng = np.random.default_rng(options.seed + 2)
    rows = np.sort(rng.choice(len(matrix), min(HELD_OUT, len(matrix)), replace=False)).astype(np.int64)
    # Sorting was for reading; tuning and measuring halves must not be neighbours in a file sorted by category.
    rng.shuffle(rows)
    kinds = 1 + (text_queries is not None and len(text_queries) > 0)
    progress = _counting(report, "checking", kinds * len(matrix))
    truths = [find_truth(index.vectors(rows), rows, matrix, progress)]
    if text_queries is not None and len(text_queries):
        truths.append(find_truth(np.ascontiguousarray(text_queries, np.float32), None, matrix, progress))
    halves = [truth.halves() for truth in truths]
    found = tune(index, [half for half, _ in halves], options.recall_target, report)
    measured = [_measure(index, half, found.nprobe, found.overfetch, options.recall_target) for _, half in halves]
    return _Tuned(
        _parameters(shape, found.nprobe, found.overfetch), measured[0], measured[1] if len(measured) > 1 else None
    )


def _measure(index: IvfPqIndex, truth: Truth, nprobe: int, overfetch: float, target: float) -> Recall:
    recall = float(recall_of(index, truth, nprobe, overfetch).mean())
    return Recall(k=truth.k, queries=len(truth.queries), recall=round(recall, 4), met=recall >= target)


def _parameters(shape: IvfPqShape, nprobe: int, overfetch: float) -> IvfPq:
    return IvfPq(
        nlist=shape.nlist,
        m=shape.m,
        training_sample=shape.sample,
        iterations=ITERATIONS,
        nprobe=nprobe,
        overfetch=overfetch,
    )


def _counting(report: Report, stage: str, total: int) -> Callable[[int], None]:
    done = 0

    def progress(steps: int) -> None:
        nonlocal done
        done += steps
        report(stage, done, total)

    return progress


def _silent(stage: str, done: int, total: int) -> None:
    """Report to nobody."""
