"""What can be ingested, told by its name or by the caller."""

import glob
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from clipsearch.errors import InvalidInput
from clipsearch.ingest.columns import Mapped
from clipsearch.ingest.directory import DirectorySource
from clipsearch.ingest.reasons import Rejects
from clipsearch.ingest.records import Found
from clipsearch.ingest.shards import ShardSource, is_shard_name
from clipsearch.ingest.table import ParquetSource, TableSource
from clipsearch.ingest.vectors import EMBEDDING, EmbeddingsSource, NpySource
from clipsearch.parquet_columns import open_parquet_file
from clipsearch.picture_files import is_picture_name, walk_pictures
from clipsearch.tables import is_table

_PARQUET = {".parquet", ".pq"}


class Source(Protocol):
    """Items of one place, read as often as they are asked for, never all at once."""

    position: int
    """How far the reading is, in what ``size`` counts."""

    def size(self) -> int:
        """Return how much there is to read, in units of the source's own."""
        ...

    def records(self, rejects: Rejects) -> Iterator[Found]:
        """Yield the items; what has no id that is known is listed in ``rejects`` instead."""
        ...


class Format(StrEnum):
    """The kinds of sources."""

    PICTURES = "pictures"
    TABLE = "table"
    PARQUET = "parquet"
    SHARDS = "shards"
    NPY = "npy"
    EMBEDDINGS = "embeddings"


def open_source(
    given: str,
    mapped: Mapped,
    *,
    format_: Format | None = None,
    metadata: Path | None = None,
    per_directory: bool = False,
    embedding_column: str | None = None,
) -> Source:
    """Open a directory, a file, or the files that a pattern with ``*`` matches.

    Raises InvalidInput where there is nothing, where it is of no kind that is known, or lacks what that kind needs.
    """
    files = _files(given)
    kind = format_ or _kind(given, files, embedding_column)
    if kind is Format.PICTURES:
        root = Path(given)
        if not root.is_dir():
            raise InvalidInput(f"{given} is not a directory", field="source")
        return DirectorySource(root, mapped, metadata=metadata, per_directory=per_directory)
    if per_directory:
        raise InvalidInput("--per-directory is for directories of pictures", field="source")
    if kind is Format.NPY:
        return NpySource(_one(files, given), mapped, metadata)
    if metadata is not None:
        raise InvalidInput("--metadata is for directories of pictures and .npy files", field="metadata")
    files = _below(given, kind) if Path(given).is_dir() else files
    if kind is Format.EMBEDDINGS:
        return EmbeddingsSource(_one(files, given), mapped, embedding_column or EMBEDDING)
    if kind is Format.SHARDS:
        return ShardSource(files, mapped)
    if kind is Format.PARQUET:
        return ParquetSource(files, mapped)
    if unknown := next((file for file in files if not is_table(file)), None):
        raise InvalidInput(f"{unknown} is neither .csv, .tsv, .jsonl nor .ndjson", field="source")
    return TableSource(files, mapped)


def _files(given: str) -> list[Path]:
    path = Path(given)
    if path.exists():
        return [] if path.is_dir() else [path]
    matched = sorted(Path(name) for name in glob.glob(given, recursive=True) if Path(name).is_file())  # noqa: PTH207
    if not matched:
        raise InvalidInput(f"there is nothing at {given}", field="source")
    return matched


def _kind(given: str, files: list[Path], embedding_column: str | None) -> Format:
    if not files:
        return _kind_of_directory(Path(given))
    kinds = {_kind_of_file(file, embedding_column) for file in files}
    if len(kinds) > 1:
        raise InvalidInput(
            f"{given} matches files of several kinds: {', '.join(sorted(kinds))}; name one with --format"
        )
    return kinds.pop()


def _kind_of_directory(root: Path) -> Format:
    """Return what a directory holds: pictures, unless there are none and there are shards or Parquet files."""
    if next(walk_pictures(root), None) is not None:
        return Format.PICTURES
    for kind in (Format.SHARDS, Format.PARQUET):
        if next(iter(_below(f"{root}", kind)), None) is not None:
            return kind
    return Format.PICTURES


def _kind_of_file(file: Path, embedding_column: str | None) -> Format:
    suffix = file.suffix.lower()
    if is_table(file):
        return Format.TABLE
    if is_shard_name(file.name):
        return Format.SHARDS
    if suffix == ".npy":
        return Format.NPY
    if suffix in _PARQUET:
        names = open_parquet_file(file).schema_arrow.names
        return Format.EMBEDDINGS if (embedding_column or EMBEDDING) in names else Format.PARQUET
    hint = "; give the directory that it lies in" if is_picture_name(file.name) else ""
    raise InvalidInput(
        f"{file} is none of: a directory, .csv, .tsv, .jsonl, .ndjson, .parquet, .tar, .npy{hint}", field="source"
    )


def _below(given: str, kind: Format) -> list[Path]:
    return sorted(path for path in Path(given).rglob("*") if _fits(path, kind) and path.is_file())


def _fits(path: Path, kind: Format) -> bool:
    if kind is Format.SHARDS:
        return is_shard_name(path.name)
    return is_table(path) if kind is Format.TABLE else path.suffix.lower() in _PARQUET


def _one(files: list[Path], given: str) -> Path:
    if len(files) != 1:
        raise InvalidInput(f"{given} must be one file, not {len(files)}", field="source")
    return files[0]
