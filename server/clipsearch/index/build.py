"""From a stream of vectors to an index directory: write, train, add, tune, publish."""

import time
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from clipsearch.index.ids import write_ids
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.manifest import IndexManifest, IvfPq, Recall
from clipsearch.index.rows import write_rows
from clipsearch.index.rules import IvfPqShape, Kind, choose_kind, choose_shape
from clipsearch.index.storage import IVFPQ, VECTORS, describe_files, publish, start_building
from clipsearch.index.threads import available_cores, limit_blas, limit_openmp
from clipsearch.index.train import ITERATIONS, train_and_add
from clipsearch.index.tuning import Report, Truth, Tuned, counting, find_truth, recall_of, tune
from clipsearch.index.vectors import VectorFile, VectorFileWriter, open_vectors
from clipsearch.ports import Rows, Vectors

HELD_OUT = 1000
"""Picture queries used for tuning and measuring, half of them for each."""


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
    """What to index: unit vectors of ``dimension`` coordinates, and where they come from.

    ``rows`` are the catalogue's numbers of the vectors, int64 ascending; ``blocks`` yields float16 [m, dimension] in
    their order, ``ids`` the ids. ``text_queries``, float32 [q, dimension] of unit length, are tuned for as well where
    given. ``seq``, ``model_hash`` and ``text_origin`` go to the manifest.
    """

    rows: Rows
    dimension: int
    blocks: Iterable[NDArray[np.float16]]
    ids: Iterable[str]
    seq: int
    model_hash: str | None = None
    text_queries: Vectors | None = None
    text_origin: str | None = None

    @property
    def n(self) -> int:
        """How many vectors there are."""
        return len(self.rows)


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
    kind = choose_kind(source.n, options.kind)
    building = start_building(collection)
    vectors = _write(building, source, report)
    tuned = _build_ivfpq(building, vectors, source, options, report) if kind is Kind.IVFPQ else _Tuned()
    manifest = IndexManifest(
        seq=source.seq,
        kind="flat" if kind is Kind.FLAT else "ivfpq",
        size=source.n,
        dimension=source.dimension,
        ivfpq=tuned.parameters,
        recall_target=options.recall_target,
        image_recall=tuned.image,
        text_recall=tuned.text,
        text_origin=source.text_origin,
        model_hash=source.model_hash,
        seed=options.seed,
        faiss_version=faiss.__version__,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_s=round(time.monotonic() - began, 3),
        files=describe_files(building),
    )
    publish(building, manifest, collection)
    return manifest


def _build_ivfpq(
    building: Path, vectors: VectorFile, source: IndexSource, options: IndexOptions, report: Report
) -> _Tuned:
    threads = options.threads or available_cores()
    # Blocks run side by side in the pool, so each gets one BLAS thread; FAISS, in searches, gets them all.
    limit_blas(1)
    limit_openmp(threads)
    shape = choose_shape(source.n, source.dimension)
    with ThreadPoolExecutor(threads, thread_name_prefix="index") as pool:
        ivf = train_and_add(vectors.matrix, shape, options.seed, pool, report)
        faiss.write_index(ivf, str(building / IVFPQ))
        index = IvfPqIndex(ivf, vectors, nprobe=shape.nprobe, overfetch=shape.overfetch, threads=threads)
        return _tune(index, shape, source, options, pool, report=report)


def _write(building: Path, source: IndexSource, report: Report) -> VectorFile:
    done = 0
    with VectorFileWriter(building / VECTORS, source.n, source.dimension) as writer:
        for block in source.blocks:
            writer.append(block)
            done += len(block)
            report("writing", done, source.n)
    write_rows(building, source.rows)
    if write_ids(building, source.ids) != source.n:
        raise ValueError(f"as many ids as vectors are needed: {source.n}")
    return open_vectors(building / VECTORS, source.n, source.dimension)


def _tune(
    index: IvfPqIndex, shape: IvfPqShape, source: IndexSource, options: IndexOptions, pool: Executor, *, report: Report
) -> _Tuned:
    """Tune on held-out queries and measure on others; an index of one vector has nothing to measure."""
    matrix, texts = index.matrix, source.text_queries
    if len(matrix) < 2:
        return _Tuned(_parameters(shape, shape.nprobe, shape.overfetch))
    rng = np.random.default_rng(options.seed + 2)
    # In random order: the halves that tune and measure must not be alike in a catalogue sorted by category.
    rows = rng.choice(len(matrix), min(HELD_OUT, len(matrix)), replace=False).astype(np.int64)
    asked: list[tuple[Vectors, Rows | None]] = [(index.vectors(rows), rows)]
    if texts is not None and len(texts) > 0:
        asked.append((np.ascontiguousarray(texts, dtype=np.float32), None))
    progress = counting(report, "checking", len(asked) * len(matrix))
    halves = [find_truth(queries, own, matrix, pool, progress).halves() for queries, own in asked]
    found = tune(index, [half for half, _ in halves], options.recall_target, report)
    measured = [_measure(index, half, found, options.recall_target) for _, half in halves]
    text = measured[1] if len(measured) > 1 else None
    return _Tuned(_parameters(shape, found.nprobe, found.overfetch), measured[0], text)


def _measure(index: IvfPqIndex, truth: Truth, tuned: Tuned, target: float) -> Recall:
    recall = float(recall_of(index, truth, tuned.nprobe, tuned.overfetch).mean())
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


def _silent(stage: str, done: int, total: int) -> None:
    """Report to nobody."""
