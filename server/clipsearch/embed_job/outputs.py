"""From the files of a finished job to the output. Each step may be repeated after an interruption anywhere."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clipsearch.disk import appearing, flush
from clipsearch.embed_job.engines import Model
from clipsearch.embed_job.items import Vector
from clipsearch.embed_job.work import Progress, WorkDirectory, npy_header
from clipsearch.errors import ConfigError
from clipsearch.item_files import WEIGHT_HASH

ROWS_PER_GROUP = 8192
"""Rows of one Parquet row group, wherever the job was interrupted."""

SUFFIXES = {".parquet", ".npy"}


def check_output(path: Path) -> None:
    """Raise ConfigError unless the name ends in .parquet or .npy and its directory is there."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"the output's name must end in .parquet or .npy: {path}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"the output's directory does not exist: {path.absolute().parent}")


def ids_path(out: Path) -> Path:
    """Return where the ids of a .npy file go: ``{"id": …}`` for each row, in order.

    ``clipsearch index build FILE --metadata FILE.ids.jsonl`` takes it.
    """
    return out.with_name(out.name + ".ids.jsonl")


def rejects_path(out: Path) -> Path:
    """Return where the items without a row are listed. No such item, no such file."""
    return out.with_name(out.name + ".rejects.jsonl")


def finish(work: WorkDirectory, out: Path, progress: Progress, model: Model) -> None:
    """Make the output, give it its name, and remove the work directory. Without any row there is no output.

    The output gets its name last, so that it is never without its ids and rejects.
    """
    if progress.rejected:
        _move(work.rejects, rejects_path(out))
    else:
        rejects_path(out).unlink(missing_ok=True)
    if progress.rows and work.vectors.exists():
        if out.suffix == ".npy":
            _finish_npy(work, out, progress, model)
        else:
            _finish_parquet(work, out, progress, model)
    work.remove()


def _finish_npy(work: WorkDirectory, out: Path, progress: Progress, model: Model) -> None:
    with work.vectors.open("r+b") as file:
        file.write(npy_header(progress.rows, model.dimension))
    _move(work.ids, ids_path(out))
    _move(work.vectors, out)


def _finish_parquet(work: WorkDirectory, out: Path, progress: Progress, model: Model) -> None:
    """Columns ``id`` (string) and ``embedding`` (fixed-size list of float32); the weight hash in its metadata."""
    import pyarrow
    import pyarrow.parquet

    vector = pyarrow.list_(pyarrow.float32(), model.dimension)
    fields = [pyarrow.field("id", pyarrow.string()), pyarrow.field("embedding", vector)]
    schema = pyarrow.schema(fields, metadata={WEIGHT_HASH: model.weight_hash})
    # Vectors hold no repetitions for a dictionary or a compressor to find, and looking for them takes its time.
    options = {"use_dictionary": False, "compression": "NONE", "column_encoding": {"id": "DELTA_BYTE_ARRAY"}}
    with appearing(out) as path, pyarrow.parquet.ParquetWriter(path, schema, **options) as writer:
        for ids, vectors in _rows(work, progress, model.dimension):
            column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), model.dimension)
            writer.write_batch(pyarrow.record_batch([pyarrow.array(ids, pyarrow.string()), column], schema=schema))
    work.vectors.unlink()


def _rows(work: WorkDirectory, progress: Progress, dimension: int) -> Iterator[tuple[list[str], Vector]]:
    with work.vectors.open("rb") as vectors, work.ids.open("rb") as lines:
        vectors.seek(len(npy_header(0, dimension)))
        for start in range(0, progress.rows, ROWS_PER_GROUP):
            count = min(ROWS_PER_GROUP, progress.rows - start)
            ids = [json.loads(line)["id"] for line in itertools.islice(lines, count)]
            yield ids, np.fromfile(vectors, "<f4", count * dimension).reshape(count, dimension)


def _move(source: Path, target: Path) -> None:
    """Move a file, flushed; one that is gone was moved before an interruption."""
    if source.exists():
        flush(source)
        os.replace(source, target)  # noqa: PTH105
        flush(target.parent)
