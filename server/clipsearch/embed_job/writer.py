"""Appends outcomes to the files of a work directory, and has the note follow them to the disk."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from clipsearch.disk import flush
from clipsearch.embed_job.items import Digest, Outcome, Problem
from clipsearch.embed_job.work import Progress, WorkDirectory, npy_header

NOTE_EVERY_S = 2.0
"""What a killed process loses at most, beside what is in flight."""


class Writer:
    """Takes blocks of outcomes in order. A context manager: on leaving, all that was taken is noted.

    Flushing to the disk runs on a thread of its own, so that a slow disk does not keep the stream waiting; one flush at
    a time. ``digest`` is that of the items noted already.
    """

    def __init__(
        self,
        work: WorkDirectory,
        dimension: int,
        progress: Progress,
        digest: Digest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the files and cut them back to what is noted."""
        header = npy_header(0, dimension)
        self.progress = self._begun = progress
        self._work = work
        self._dimension = dimension
        self._digest = digest
        self._clock = clock
        self._vectors = _cut(work.vectors, len(header) + progress.rows * dimension * 4)
        self._ids = _cut(work.ids, progress.ids_bytes)
        self._rejects = _cut(work.rejects, progress.rejects_bytes)
        if not progress.rows:
            self._vectors.seek(0)
            self._vectors.write(header)
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._flushing: Future[None] | None = None
        self._noted_at = clock()

    def add(self, block: Sequence[Outcome]) -> None:
        """Append a block."""
        rows, ids, rejects = [], [], []
        for item, result in block:
            self._digest.add(item)
            # Escaped, because a file name that is not valid Unicode must be listed too.
            if isinstance(result, Problem):
                rejects.append(json.dumps({"id": item.id, "reason": result.reason, "message": result.message}))
            else:
                ids.append(json.dumps({"id": item.id}, ensure_ascii=False))
                rows.append(result)
        if rows:
            self._vectors.write(np.ascontiguousarray(rows, "<f4").tobytes())
        before = self.progress
        self.progress = Progress(
            taken=before.taken + len(block),
            rows=before.rows + len(rows),
            rejected=before.rejected + len(rejects),
            ids_bytes=before.ids_bytes + _append(self._ids, ids),
            rejects_bytes=before.rejects_bytes + _append(self._rejects, rejects),
            digest=self._digest.hexdigest(),
        )
        if self._clock() - self._noted_at >= NOTE_EVERY_S and (self._flushing is None or self._flushing.done()):
            self._begin_flush()

    def close(self) -> None:
        """Note all that was taken; raises OSError where the disk is full or fails."""
        try:
            if self._flushing is not None:
                self._flushing.result()
            if self.progress != self._begun:
                self._begin_flush().result()
        finally:
            self._flusher.shutdown()
            for file in (self._vectors, self._ids, self._rejects):
                file.close()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _begin_flush(self) -> "Future[None]":
        if self._flushing is not None:
            self._flushing.result()  # raises what it met
        for file in (self._vectors, self._ids, self._rejects):
            file.flush()
        self._noted_at = self._clock()
        self._flushing = self._flusher.submit(_flush_and_note, self._work, self.progress)
        return self._flushing


def _flush_and_note(work: WorkDirectory, progress: Progress) -> None:
    for path in (work.vectors, work.ids, work.rejects):
        flush(path)
    work.note(progress)


def _cut(path: Path, size: int) -> BinaryIO:
    """Open a file for appending behind ``size`` bytes; what lies there goes."""
    path.touch()
    file = path.open("r+b")
    file.truncate(size)
    file.seek(size)
    return file


def _append(file: BinaryIO, lines: Sequence[str]) -> int:
    return file.write("".join(line + "\n" for line in lines).encode()) if lines else 0
