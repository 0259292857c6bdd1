"""Loading in bulk into a living collection: the offline build, with lanes where it has a writer and an encoder.

An import shares the machine with people who wait for answers, so nothing of it goes around the lanes. Its pictures are
bulk items of the image lane: there they fill batches no larger than everybody's, and get the share that bulk work has
while interactive work waits. (Calling the encoder directly would run its own batches of 32 beside the lane's, on the
same cores or the same device, with nothing to say who goes first.) Its writes are bulk items of the write lane, in
chunks small enough for a single write not to wait long behind one. Only decoding has threads of its own, a few: the
server's decoders would put an interactive picture behind a whole chunk.

A build is written for a thread; it calls the lanes on the event loop and waits.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clipsearch.batching.places import Demand
from clipsearch.catalogue.items import Item, Known
from clipsearch.catalogue.mutations import Outcome, Upsert
from clipsearch.collection import Collection
from clipsearch.disk import disk_errors
from clipsearch.errors import ClipsearchError, ComputeFailed, WrongDimension
from clipsearch.ports import Pixels, Priority, Vectors
from clipsearch.services.build import Build
from clipsearch.services.build_pictures import Embedder
from clipsearch.services.build_report import FirstRejects, Reject, Report, Tally
from clipsearch.services.build_source import vectors_opener
from clipsearch.services.build_vectors import check_model
from clipsearch.services.catalogue import Write, WriteLane
from clipsearch.services.embed import Encode, ImageLane
from clipsearch.services.serving import Model, Pinned, Serving

T = TypeVar("T")

CHUNK = 512
"""Items of one write: some 30 ms of the write lane, which is what a single write may have to wait for one."""

IMPORTER = "import"
"""The caller that an import is to the lanes."""

REJECTS_TOLD = 100
"""Rejects that the result lists; all are counted."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a source: counts, the first rejects, and the collection's sequence number afterwards."""

    tally: Tally
    first_rejects: Sequence[Reject]
    seq: int


class Importer:
    """Loads sources into collections through the lanes. ``load`` is called on a thread of the job."""

    def __init__(
        self,
        *,
        serving: Serving,
        write: WriteLane,
        images: ImageLane,
        threads: int,
    ) -> None:
        """``threads`` decode pictures."""
        self._serving, self._write, self._images = serving, write, images
        self._threads = threads

    def load(
        self,
        collection: str,
        source: Path,
        metadata: Path | None,
        *,
        tally: Tally,
        report: Report,
        loop: asyncio.AbstractEventLoop,
    ) -> Imported:
        """Store a source, a directory of pictures or a file of vectors; ``loop`` is the lanes' and runs meanwhile.

        ``tally`` counts as it goes. Raises InvalidInput where the source or its metadata make no sense, WrongDimension,
        WrongModel, what the write lane raises for a whole chunk, and what ``report`` raises; all chunks before that are
        stored.
        """
        rejects = FirstRejects(tally, REJECTS_TOLD)
        where = self._serving.where(collection)
        model, into = where.model, where.collection
        build = Build(_WriteLaneStore(self._write, into, loop), rejects, tally, report)
        opener = vectors_opener(source)
        if opener is None:
            encoder = _ImageLaneEncoder(self._images, model, loop)
            build.pictures(source, metadata, Embedder(model.preprocessor, encoder, threads=self._threads))
        else:
            vectors = opener(source, metadata, rejects, tally)
            if vectors.dimension != model.dimension:
                raise WrongDimension(
                    f"{source} holds vectors of dimension {vectors.dimension}, the collection has {model.dimension}"
                )
            check_model(source, vectors, model.weight_hash)
            build.vectors(vectors)
        return Imported(tally, rejects.first, into.view.seq)


class _WriteLaneStore:
    """A living collection as a build's store: what was upserted is durable and searchable.

    Once the collection is deleted it raises CollectionNotFound, though there be another of that name by then.
    """

    def __init__(self, lane: WriteLane, collection: Collection, loop: asyncio.AbstractEventLoop) -> None:
        self._lane, self._collection, self._loop = lane, collection, loop

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        return self._collection.reader.known(ids)

    def upsert(self, items: Sequence[Item]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for start in range(0, len(items), CHUNK):
            outcomes += _wait(self._loop, self._submit(items[start : start + CHUNK]))
        return outcomes

    async def _submit(self, items: Sequence[Item]) -> Sequence[Outcome]:
        with await self._lane.admission.enter_when_free(Demand(Priority.BULK, IMPORTER, cost=len(items))):
            write = Write(self._collection, Upsert(items))
            answer = await self._lane.submit(write, length=len(items), priority=Priority.BULK, caller=IMPORTER)
        return answer.output.outcomes


class _ImageLaneEncoder:
    """The image lane as a build's encoder, from a thread."""

    def __init__(self, lane: ImageLane, model: Model, loop: asyncio.AbstractEventLoop) -> None:
        self.dimension = model.dimension
        self._lane, self._model, self._loop = lane, model, loop

    def encode(self, batch: Sequence[Pixels]) -> Vectors:
        """Embed pictures, float32 [n, dimension]; NaN for one that the tower failed on, which a build lists."""
        return _wait(self._loop, self._encode(batch))

    async def _encode(self, batch: Sequence[Pixels]) -> Vectors:
        return np.stack(await asyncio.gather(*map(self._one, batch)))

    async def _one(self, pixels: Pixels) -> Vectors:
        demand = Demand(Priority.BULK, IMPORTER, held_bytes=pixels.nbytes)
        with await self._lane.admission.enter_when_free(demand):
            try:
                item = Pinned(self._model, Encode(pixels, None))
                answer = await self._lane.submit(item, priority=Priority.BULK, caller=IMPORTER)
            except ComputeFailed:
                return np.full(self.dimension, np.nan, np.float32)
        return answer.output.vector


def _wait(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on the loop and wait on this thread."""
    return asyncio.run_coroutine_threadsafe(work, loop).result()


_FIELDS = {"source": "path", "metadata": "metadata_path"}


@contextmanager
def told_remotely(root: Path) -> Iterator[None]:
    """Word what a build raises for a remote caller: paths from ``root`` on, and the fields of the request."""
    try:
        with disk_errors("reading the source"):
            yield
    except ClipsearchError as error:
        error.message = error.message.replace(f"{root}/", "")
        error.field = _FIELDS.get(error.field or "", error.field)
        raise
