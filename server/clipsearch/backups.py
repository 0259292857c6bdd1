"""Copies of whole collections: taken while they are served, and restored where nothing runs.

A copy has the layout of a data directory, catalogue and newest index, so it can be served, checked and copied like one.
The index comes first: it is then never newer than the catalogue beside it, and what was written in between is in the
delta. Nothing appears under its name before it is whole and on the disk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipsearch.catalogue.backup import backup
from clipsearch.catalogue.schema import catalogue_file
from clipsearch.catalogue.verify import verify_catalogue
from clipsearch.data import collection_directories
from clipsearch.disk import appearing, disk_errors
from clipsearch.errors import CollectionExists, CollectionNotFound, SnapshotExists, UnusableIndex
from clipsearch.index.storage import copy_newest
from clipsearch.verification import verify


@dataclass(frozen=True, slots=True)
class CollectionCopy:
    """One collection copied: last sequence number, items and bytes; ``index_seq`` None where no index came along."""

    seq: int
    items: int
    index_seq: int | None
    disk_bytes: int


def take_snapshot(
    collections: Mapping[str, Path], to: Path, report: Callable[[str, int, int], None]
) -> dict[str, CollectionCopy]:
    """Copy collection directories, by name, into the new directory ``to``; they may be written and rebuilt meanwhile.

    Each copy is of one moment, not all of the same. Raises SnapshotExists, StorageFull, StorageFailed, UnusableIndex
    where a collection is gone, and what ``report`` raises; then nothing is left.
    """
    copies: dict[str, CollectionCopy] = {}
    with disk_errors("the snapshot"):
        if to.exists():
            raise SnapshotExists("there is a directory of this name already")
        with appearing(to) as unfinished:
            unfinished.mkdir()
            for n, (name, directory) in enumerate(collections.items()):
                report("copying", n, len(collections))
                copies[name] = _copy(directory, unfinished / name)
            report("copying", len(collections), len(collections))
    return copies


def restore(snapshot: Path, data: Path, only: str | None = None) -> dict[str, CollectionCopy]:
    """Copy the collections of a snapshot, or one of them, into a data directory; returns them by name.

    All are verified before anything is copied. An index that is not whole, or does not fit, is left behind: it will be
    built anew. Raises CollectionNotFound where the snapshot has none (of that name), CollectionExists where the data
    directory has one, UnusableIndex where a catalogue is damaged, StorageFull and StorageFailed.
    """
    found = collection_directories(snapshot)
    wanted = {name: path for name, path in found.items() if only in (None, name)}
    if not wanted:
        raise CollectionNotFound(f"{snapshot} holds no collection{'' if only is None else f' {only!r}'}")
    taken = [name for name in wanted if (data / name).exists()]
    if taken:
        raise CollectionExists(f"{data} has a collection {taken[0]!r} already, and nothing is overwritten")
    sound = {name: _check(name, path) for name, path in wanted.items()}
    copies = {}
    with disk_errors("restoring"):
        for name, path in wanted.items():
            with appearing(data / name) as unfinished:
                copies[name] = _copy(path, unfinished, with_index=sound[name])
    return copies


def _check(name: str, path: Path) -> bool:
    """Return whether the index is to be copied; raises UnusableIndex where the catalogue is not whole."""
    if verify(path).ok:
        return True
    found = verify_catalogue(path)
    if not found.ok:
        first = found.problems[0] if found.problems else f"the embedding of {found.damaged[0]!r} is damaged"
        raise UnusableIndex(f"collection {name!r} of the snapshot is damaged ({first}); nothing was restored")
    return False


def _copy(collection: Path, to: Path, *, with_index: bool = True) -> CollectionCopy:
    to.mkdir(exist_ok=True)
    file = catalogue_file(collection)
    before = file.stat().st_ino if file.is_file() else None
    manifest = copy_newest(collection, to) if with_index else None
    copied = backup(collection, to)
    if file.stat().st_ino != before:
        # The index would be of another catalogue than the one beside it.
        raise UnusableIndex("the collection was deleted and made again while it was being copied")
    disk_bytes = sum(path.stat().st_size for path in to.rglob("*") if path.is_file())
    return CollectionCopy(copied.seq, copied.items, manifest.seq if manifest else None, disk_bytes)
