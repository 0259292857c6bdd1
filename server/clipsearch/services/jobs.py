"""The long jobs of the catalogue, started as operations."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clipsearch.backups import CollectionCopy, take_snapshot
from clipsearch.data import DEFAULT
from clipsearch.disk import inside
from clipsearch.errors import InvalidInput, NotConfigured, PathNotFound, SnapshotExists
from clipsearch.index.manifest import IndexManifest
from clipsearch.index.rules import Training
from clipsearch.services.build_report import Report, Tally
from clipsearch.services.build_source import vectors_opener
from clipsearch.services.exports import Exported, check_free, export_items
from clipsearch.services.imports import Imported, Importer, told_remotely
from clipsearch.services.operations import Operation, Operations
from clipsearch.services.serving import Serving

# What the layer above needs of the layers below.
__all__ = [
    "ExportOf",
    "Exported",
    "ImportOf",
    "Imported",
    "IndexManifest",
    "Jobs",
    "RebuildOf",
    "SnapshotOf",
    "SnapshotTaken",
    "Tally",
    "Training",
]


@dataclass(frozen=True, slots=True)
class RebuildOf:
    """What a rebuild is about; its result is an IndexManifest."""

    collection: str
    kind: ClassVar[str] = "rebuild"

    @property
    def subject(self) -> str:
        """The collection."""
        return self.collection


@dataclass(frozen=True, slots=True)
class SnapshotOf:
    """What a snapshot is about: the directory's name as the caller gave it; its result is a SnapshotTaken."""

    name: str
    kind: ClassVar[str] = "snapshot"
    subject: ClassVar[str] = "collections"
    """One at a time: two would only share the disk."""


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """What a snapshot holds, by collection."""

    copies: Mapping[str, CollectionCopy]


@dataclass(frozen=True, slots=True)
class ImportOf:
    """What an import is about: the path as the caller gave it, and what became of its items so far; gives Imported."""

    collection: str
    path: str
    tally: Tally
    kind: ClassVar[str] = "import"

    @property
    def subject(self) -> str:
        """The collection."""
        return self.collection


@dataclass(frozen=True, slots=True)
class ExportOf:
    """What an export is about: the collection, and the path as the caller gave it; its result is an Exported."""

    collection: str
    path: str
    kind: ClassVar[str] = "export"
    subject: ClassVar[str] = "items"
    """One at a time, as of snapshots: so no two of them can mean the same file either."""


class Jobs:
    """Starts the jobs: what is wrong with a request is raised at once, what goes wrong later is the operation's."""

    def __init__(
        self,
        *,
        operations: Operations,
        serving: Serving,
        importer: Importer,
        snapshots: Path | None,
        imports: Path | None,
        exports: Path | None,
    ) -> None:
        """Take the directories to copy collections into, to load items from and to write them into; None: may not."""
        self._operations = operations
        self._serving = serving
        self._importer = importer
        self._snapshots = snapshots
        self._imports = imports
        self._exports = exports

    def rebuild(self, collection: str, training: Training = Training.WHERE_NEEDED) -> Operation:
        """Build an index anew; raises CollectionNotFound, RebuildRunning or OperationRunning."""
        name = collection or DEFAULT
        where = self._serving.where(name)
        where.collection.check_not_rebuilding()
        return self._operations.start(RebuildOf(name), lambda report: where.collection.rebuild(report, training))

    def snapshot(self, collections: Sequence[str], name: str) -> Operation:
        """Copy collections, all where none is named, into a new directory below the server's own for them.

        Raises NotConfigured, PathNotAllowed, SnapshotExists, CollectionNotFound or OperationRunning.
        """
        to = inside(_configured(self._snapshots, "snapshots"), name, "name")
        if to.exists():
            raise SnapshotExists("there is a directory of this name already", metadata={"name": name})
        names = sorted({one or DEFAULT for one in collections}) or self._serving.data.names()
        sources = {one: self._serving.collection(one).directory for one in names}
        return self._operations.start(
            SnapshotOf(name), lambda report: SnapshotTaken(take_snapshot(sources, to, report))
        )

    def import_items(self, collection: str, path: str, metadata_path: str) -> Operation:
        """Load a source below the server's own directory for them; called on the event loop.

        Raises NotConfigured, PathNotAllowed, PathNotFound, InvalidInput for another kind of source, CollectionNotFound
        or OperationRunning.
        """
        root = Path(os.path.realpath(_configured(self._imports, "imports")))
        source = _existing(root, path, "path")
        metadata = _existing(root, metadata_path, "metadata_path") if metadata_path else None
        with told_remotely(root):
            vectors_opener(source)
        name, tally, loop = collection or DEFAULT, Tally(), asyncio.get_running_loop()
        self._serving.collection(name)

        def work(report: Report) -> Imported:
            with told_remotely(root):
                return self._importer.load(name, source, metadata, tally=tally, report=report, loop=loop)

        return self._operations.start(ImportOf(name, path, tally), work)

    def export_items(self, collection: str, path: str, *, overwrite: bool) -> Operation:
        """Write a collection's items into a Parquet file below the server's own directory for them.

        Raises NotConfigured, PathNotAllowed, InvalidInput for another ending, ExportExists, CollectionNotFound or
        OperationRunning.
        """
        to = inside(_configured(self._exports, "exports"), path, "path")
        if to.suffix != ".parquet":
            raise InvalidInput("the name of an export must end in .parquet", field="path")
        check_free(to, overwrite=overwrite)
        name = collection or DEFAULT
        directory = self._serving.collection(name).directory
        return self._operations.start(
            ExportOf(name, path), lambda report: export_items(directory, to, report, overwrite=overwrite)
        )


def _existing(root: Path, given: str, field: str) -> Path:
    path = inside(root, given, field)
    if not path.exists():
        raise PathNotFound(f"there is no {given}", field=field)
    return path


def _configured(root: Path | None, setting: str) -> Path:
    if root is None:
        raise NotConfigured(f"this server was started without `{setting}`", metadata={"setting": setting})
    return root
