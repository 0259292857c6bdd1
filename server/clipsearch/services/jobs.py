"""The long jobs of the catalogue, started as operations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clipsearch.backups import CollectionCopy, take_snapshot
from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.disk import inside
from clipsearch.errors import NotConfigured, SnapshotExists
from clipsearch.index.manifest import IndexManifest
from clipsearch.services.build_report import Report
from clipsearch.services.operations import Operation, Operations

# What the layer above needs of the layers below.
__all__ = ["IndexManifest", "Jobs", "RebuildOf", "SnapshotOf", "SnapshotTaken"]

Rebuild = Callable[[str, Report], IndexManifest]
"""Builds the index of a collection anew, and returns its manifest."""


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


class Jobs:
    """Starts the jobs: what is wrong with a request is raised at once, what goes wrong later is the operation's."""

    def __init__(
        self, *, operations: Operations, data: DataDirectory, rebuild: Rebuild, snapshots: Path | None
    ) -> None:
        """``snapshots`` is the directory that collections may be copied into, None where they may not."""
        self._operations = operations
        self._data = data
        self._rebuild = rebuild
        self._snapshots = snapshots

    def rebuild(self, collection: str) -> Operation:
        """Build an index anew; raises CollectionNotFound, RebuildRunning or OperationRunning."""
        name = collection or DEFAULT
        self._data.collection(name).check_not_rebuilding()
        return self._operations.start(RebuildOf(name), lambda report: self._rebuild(name, report))

    def snapshot(self, collections: Sequence[str], name: str) -> Operation:
        """Copy collections, all where none is named, into a new directory below the server's own for them.

        Raises NotConfigured, PathNotAllowed, SnapshotExists, CollectionNotFound or OperationRunning.
        """
        to = inside(_configured(self._snapshots, "snapshots"), name, "name")
        if to.exists():
            raise SnapshotExists("there is a directory of this name already", metadata={"name": name})
        names = sorted({one or DEFAULT for one in collections}) or self._data.names()
        sources = {one: self._data.collection(one).directory for one in names}
        return self._operations.start(
            SnapshotOf(name), lambda report: SnapshotTaken(take_snapshot(sources, to, report))
        )


def _configured(root: Path | None, setting: str) -> Path:
    if root is None:
        raise NotConfigured(f"this server was started without `{setting}`", metadata={"setting": setting})
    return root
