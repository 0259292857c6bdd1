"""From a stream of vectors to an index directory: write, train or take over what was trained, add, tune, publish."""

import logging
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import UnusableIndex
from clipsearch.index.drift import misfit
from clipsearch.index.gpu_matching import match_for
from clipsearch.index.ids import write_ids
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.lists import centroids_of
from clipsearch.index.manifest import IndexManifest, IvfPq, Recall, TrainedOn
from clipsearch.index.readd import Trained, find_trained, readd, reason_to_train, sample_of
from clipsearch.index.rows import write_rows
from clipsearch.index.rules import IvfPqShape, Kind, Training, choose_kind, choose_shape
from clipsearch.index.storage import IVFPQ, VECTORS, Device, describe_files, publish, start_building
from clipsearch.index.threads import available_cores, limit_blas, limit_openmp
from clipsearch.index.train import ITERATIONS, add, train
from clipsearch.index.tuning import Report, Truth, Tuned, counting, find_truth, recall_of, tune
from clipsearch.index.vectors import VectorFile, VectorFileWriter, open_vectors
from clipsearch.ports import Rows, Vectors

logger = logging.getLogger(__name__)

HELD_OUT = 1000
"""Picture queries used for tuning and measuring, half of them for each."""


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What a caller may ask of an index.

    ``recall_target`` is recall@10 against exact search, for every kind of query that was given; ``threads`` 0 means
    every core. On a ``device`` that is a GPU, vectors find their lists there. Only ``training`` ALWAYS makes the same
    index of the same vectors whatever was there before.
    """

    kind: Kind = Kind.AUTO
    recall_target: float = 0.95
    threads: int = 0
    seed: int = 0
    training: Training = Training.ALWAYS
    device: Device = "cpu"


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


Halves = tuple[Truth, Truth]
"""Queries of one kind: those to tune with, and those to measure with."""


@dataclass(frozen=True, slots=True)
class _Tuned:
    parameters: IvfPq | None = None
    image: Recall | None = None
    text: Recall | None = None


def build_index(
    collection: Path, source: IndexSource, options: IndexOptions | None = None, report: Report | None = None
) -> IndexManifest:
    """Build an index of ``source`` under ``collection`` and publish it; returns its manifest.

    Memory: the codes (twice where they are taken over), the training sample and one block; vectors stay in the
    memory-mapped file. What ``report`` raises ends the build and leaves nothing; a crash leaves a directory that the
    next build removes. Stages are ``writing``, ``checking`` (exact search), ``training``, ``adding``, ``tuning``.
    Raises UnusableIndex where ``training`` is NEVER and there is none to take over, and DeviceUnavailable.
    """
    options = options or IndexOptions()
    building = start_building(collection)
    try:
        manifest = _build(collection, building, source, options, report or _silent)
        publish(building, manifest, collection)
    except BaseException:
        # At once, not with the next build: it may have failed for want of room.
        shutil.rmtree(building, ignore_errors=True)
        raise
    return manifest


def _build(
    collection: Path, building: Path, source: IndexSource, options: IndexOptions, report: Report
) -> IndexManifest:
    began = time.monotonic()
    kind = choose_kind(source.n, options.kind)
    vectors = _write(building, source, report)
    tuned = _Tuned()
    if kind is Kind.IVFPQ:
        trained = None
        if options.training is not Training.ALWAYS:
            trained = find_trained(collection, source.dimension, source.model_hash, source.seq)
        tuned = _IvfPqBuild(building, vectors, source, options, report).run(trained)
    return IndexManifest(
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


class _IvfPqBuild:
    """The lists and codes of one build."""

    def __init__(
        self, building: Path, vectors: VectorFile, source: IndexSource, options: IndexOptions, report: Report
    ) -> None:
        self._building, self._vectors, self._source = building, vectors, source
        self._options, self._report = options, report
        self._shape = choose_shape(source.n, source.dimension)
        self._threads = options.threads or available_cores()
        self._match = match_for(options.device)

    def run(self, trained: Trained | None) -> _Tuned:
        """Write the file, with what was ``trained`` before where that does."""
        # Blocks run side by side in the pool, so each gets one BLAS thread; FAISS, in searches, gets them all.
        limit_blas(1)
        limit_openmp(self._threads)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="index") as pool:
            if self._options.training is Training.NEVER:
                return self._in_haste(trained, pool)
            truths = _truths(self._vectors, self._source, self._options, pool, self._report)
            if trained is not None and (tuned := self._readded(trained, truths, pool)) is not None:
                return tuned
            return self._trained_anew(truths, pool)

    def _in_haste(self, trained: Trained | None, pool: Executor) -> _Tuned:
        if trained is None:
            raise UnusableIndex("there is no index whose training could be taken over")
        self._write(readd(trained, self._source.rows, self._vectors.matrix, pool, self._report, match=self._match))
        return _Tuned(trained.parameters)

    def _readded(self, trained: Trained, truths: list[Halves], pool: Executor) -> _Tuned | None:
        """None where the vectors call for training, or where recall shows that they did."""
        rows, matrix, options = self._source.rows, self._vectors.matrix, self._options
        if reason := reason_to_train(trained, rows, matrix, options.seed):
            logger.info("training: %s", reason)
            return None
        ivf = readd(trained, rows, matrix, pool, self._report, match=self._match)
        tuned = self._tuned(ivf, trained.parameters, truths)
        missed = [recall for recall in (tuned.image, tuned.text) if recall is not None and not recall.met]
        if missed:
            logger.info("training: added again, recall@%d is %.4f", missed[0].k, missed[0].recall)
            return None
        self._write(ivf)
        return tuned

    def _trained_anew(self, truths: list[Halves], pool: Executor) -> _Tuned:
        matrix, shape, rows, seed = self._vectors.matrix, self._shape, self._source.rows, self._options.seed
        ivf = train(matrix, shape, seed, pool, self._report, match=self._match)
        add(ivf, matrix, np.arange(len(matrix), dtype=np.int64), pool, self._report, match=self._match)
        self._write(ivf)
        typical = sample_of(matrix, np.arange(len(matrix), dtype=np.int64), seed)
        trained_on = TrainedOn(
            seq=self._source.seq,
            end_row=int(rows[-1]) + 1,
            sample=shape.sample,
            iterations=ITERATIONS,
            misfit=misfit(typical, centroids_of(ivf)),
        )
        return self._tuned(ivf, _parameters(shape, trained_on), truths)

    def _tuned(self, ivf: Any, start: IvfPq, truths: list[Halves]) -> _Tuned:
        """Tune on held-out queries and measure on others; an index of one vector has nothing to measure."""
        if not truths:
            return _Tuned(start)
        target = self._options.recall_target
        index = IvfPqIndex(ivf, self._vectors, nprobe=start.nprobe, overfetch=start.overfetch, threads=self._threads)
        found = tune(index, [half for half, _ in truths], target, self._report)
        image, *text = (_measure(index, half, found, target) for _, half in truths)
        parameters = start.model_copy(update={"nprobe": found.nprobe, "overfetch": found.overfetch})
        return _Tuned(parameters, image, text[0] if text else None)

    def _write(self, ivf: Any) -> None:
        faiss.write_index(ivf, str(self._building / IVFPQ))


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


def _truths(
    vectors: VectorFile, source: IndexSource, options: IndexOptions, pool: Executor, report: Report
) -> list[Halves]:
    """Queries with their exact answers, to tune and to measure with: pictures, then texts where there are any."""
    matrix, texts = vectors.matrix, source.text_queries
    if len(matrix) < 2:
        return []
    rng = np.random.default_rng(options.seed + 2)
    # In random order: the halves that tune and measure must not be alike in a catalogue sorted by category.
    rows = rng.choice(len(matrix), min(HELD_OUT, len(matrix)), replace=False).astype(np.int64)
    asked: list[tuple[Vectors, Rows | None]] = [(matrix[rows].astype(np.float32), rows)]
    if texts is not None and len(texts) > 0:
        asked.append((np.ascontiguousarray(texts, dtype=np.float32), None))
    progress = counting(report, "checking", len(asked) * len(matrix))
    return [find_truth(queries, own, matrix, pool, progress).halves() for queries, own in asked]


def _measure(index: IvfPqIndex, truth: Truth, tuned: Tuned, target: float) -> Recall:
    recall = float(recall_of(index, truth, tuned.nprobe, tuned.overfetch).mean())
    return Recall(k=truth.k, queries=len(truth.queries), recall=round(recall, 4), met=recall >= target)


def _parameters(shape: IvfPqShape, training: TrainedOn) -> IvfPq:
    return IvfPq(nlist=shape.nlist, m=shape.m, training=training, nprobe=shape.nprobe, overfetch=shape.overfetch)


def _silent(stage: str, done: int, total: int) -> None:
    """Report to nobody."""
