"""Tar shards as a source: webdataset's layout, which img2dataset writes too.

A shard is a tar file in which the parts of a sample follow one another and share a name up to the first dot:
``0001.jpg``, ``0001.json``, ``0001.txt``.
"""

import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipsearch.ingest.columns import Columns, Mapped
from clipsearch.ingest.reasons import BadRecord, Rejects
from clipsearch.ingest.records import Found, InlinePicture, Picture, Record, TarPicture, Unusable
from clipsearch.picture_files import SUFFIXES

SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

MAX_PART_BYTES = 1 << 20
"""Longest ``.json`` and ``.txt`` that is read: far more than a server's metadata may have."""

MAX_PICTURE_BYTES = 64 << 20
"""Longest picture of a compressed shard, which is read when it is met; of others it is left to the loading."""


def is_shard_name(name: str) -> bool:
    """Return whether a file's name is that of a tar file."""
    return name.lower().endswith(SHARD_SUFFIXES)


@dataclass(slots=True)
class _Sample:
    """The parts of one sample, as they are met."""

    key: str
    pictures: list[Picture] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict)
    caption: str | None = None
    problem: BadRecord | None = None


class ShardSource:
    """The samples of tar files, one file after the other.

    An item's id is its sample's key, or the value in its ``.json`` that the caller names; the fields of the ``.json``
    are its metadata, with the ``.txt`` as ``caption``, and a ``url`` among them is its uri. Positions count bytes.
    """

    def __init__(self, files: Sequence[Path], mapped: Mapped) -> None:
        self._files = files
        # Of each sample its own columns: what one lacks is no mistake of the caller's.
        self._columns = Columns(mapped.id, (), mapped.text, mapped.uri or "url", mapped)
        self.position = 0

    def size(self) -> int:
        """Bytes in all."""
        return sum(file.stat().st_size for file in self._files)

    def records(self, rejects: Rejects) -> Iterator[Found]:
        """Yield an item for each sample; a file that is damaged is listed, and what comes before it is used."""
        before = 0
        for file in self._files:
            try:
                for sample in self._samples(file, before):
                    yield from self._found(file, sample, rejects)
            except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                rejects.add(file.name, "SHARD_DAMAGED", f"the tar file cannot be read to its end: {error}")
            before += file.stat().st_size
            self.position = before

    def _samples(self, file: Path, before: int) -> Iterator[_Sample]:
        sample = _Sample("")
        found = file.stat()
        stamp = f"{found.st_size}\t{found.st_mtime_ns}"
        with file.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as tar:
            plain = tar.fileobj is raw
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every member it has seen: memory would grow with the shard
                if not member.isfile():
                    continue
                key, kind = _cut(member.name)
                if key != sample.key:
                    yield from _with_parts(sample)
                    sample = _Sample(key)
                self._take(
                    tar,
                    member,
                    sample,
                    kind,
                    TarPicture(file, stamp, member.offset_data, member.size, f"{file.name}:{member.name}")
                    if plain
                    else None,
                )
                self.position = before + raw.tell()
            yield from _with_parts(sample)
            if plain and found.st_size <= tar.offset:
                raise tarfile.ReadError("its end mark is missing")

    def _take(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo, sample: _Sample, kind: str, picture: TarPicture | None
    ) -> None:
        suffix = f".{kind.rpartition('.')[2].lower()}"
        try:
            if suffix in SUFFIXES:
                sample.pictures.append(picture or InlinePicture(_content(tar, member, MAX_PICTURE_BYTES), member.name))
            elif kind == "json":
                values = json.loads(_content(tar, member, MAX_PART_BYTES))
                if not isinstance(values, dict):
                    raise BadRecord("METADATA_NOT_USABLE", f"{member.name} is no JSON object")
                sample.values.update(values)
            elif kind == "txt":
                sample.caption = _content(tar, member, MAX_PART_BYTES).decode("utf-8").strip()
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError too
            sample.problem = BadRecord("METADATA_NOT_USABLE", f"{member.name} cannot be read: {error}")
        except BadRecord as error:
            sample.problem = error

    def _found(self, file: Path, sample: _Sample, rejects: Rejects) -> Iterator[Found]:
        where, columns = f"{file.name}:{sample.key}", self._columns
        try:
            item_id = sample.key if columns.id is None else columns.item_id(sample.values)
            if item_id is None:
                raise BadRecord("ID_MISSING", f"the sample's .json has no value for {columns.id}")
        except BadRecord as error:
            rejects.add(where, error.reason, error.message)
            return
        if sample.problem is not None:
            yield Unusable(where, item_id, sample.problem)
            return
        metadata = columns.metadata(sample.values)
        if sample.caption and columns.mapped.metadata is None:
            metadata.setdefault("caption", sample.caption)
        text = columns.words(sample.values) or sample.caption
        yield Record(where, item_id, tuple(sample.pictures), text, None, metadata, columns.uri_of(sample.values))


def _cut(name: str) -> tuple[str, str]:
    """Cut a member's name at the first dot of its last part."""
    directory, slash, base = name.rpartition("/")
    key, _, kind = base.partition(".")
    return f"{directory}{slash}{key}", kind


def _with_parts(sample: _Sample) -> Iterator[_Sample]:
    if sample.pictures or sample.values or sample.caption or sample.problem:
        yield sample


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int) -> bytes:
    if member.size > max_bytes:
        raise BadRecord("PART_TOO_LARGE", f"{member.name} has more than {max_bytes:,} bytes")
    file = tar.extractfile(member)
    return b"" if file is None else file.read()
