"""The long jobs of the catalogue, started as operations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.index.manifest import IndexManifest
from clipsearch.services.build_report import Report
from clipsearch.services.operations import Operation, Operations

# What the layer above needs of the layers below.
__all__ = ["IndexManifest", "Jobs", "RebuildOf"]

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


class Jobs:
    """Starts the jobs: what is wrong with a request is raised at once, what goes wrong later is the operation's."""

    def __init__(self, *, operations: Operations, data: DataDirectory, rebuild: Rebuild) -> None:
        self._operations = operations
        self._data = data
        self._rebuild = rebuild

    def rebuild(self, collection: str) -> Operation:
        """Build an index anew; raises CollectionNotFound, RebuildRunning or OperationRunning."""
        name = collection or DEFAULT
        self._data.collection(name).check_not_rebuilding()
        return self._operations.start(RebuildOf(name), lambda report: self._rebuild(name, report))
