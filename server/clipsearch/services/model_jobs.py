"""The long jobs about the model that serves, started as operations, one at a time."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from clipsearch.disk import inside
from clipsearch.errors import ClipsearchError, NotConfigured, OperationRunning, PathNotFound
from clipsearch.services.build_report import Report
from clipsearch.services.operations import Operation, Operations
from clipsearch.services.serving import ModelFacts

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ModelJobOf:
    """What a job is about: the word for it, and the bundle as the caller named it, empty where there is none."""

    word: str
    bundle: str = ""
    kind: ClassVar[str] = "model"
    subject: ClassVar[str] = "server"
    """One at a time."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The model that served and the one that serves now, and whether they are two."""

    before: ModelFacts
    after: ModelFacts
    swapped: bool


@dataclass(frozen=True, slots=True)
class Staged:
    """The model that is to take over, and the collections that are to be filled for it."""

    model: ModelFacts
    collections: Sequence[str]


@dataclass(frozen=True, slots=True)
class PromotedCollection:
    """A collection that took over: how many items it has, and how many the old one had that it lacks."""

    name: str
    items: int
    missing: int


@dataclass(frozen=True, slots=True)
class Promoted:
    """The model that served and the one that serves now, with its collections."""

    before: ModelFacts
    after: ModelFacts
    collections: Sequence[PromotedCollection]


@dataclass(frozen=True, slots=True)
class Unstaged:
    """Nothing is left of what was staged."""


class Swap(Protocol):
    """Does the jobs; a bundle is None for the settings' own."""

    def reload(self, bundle: Path | None, report: Report) -> Reloaded:
        """Serve another bundle of the same weights."""
        ...

    def stage(self, bundle: Path | None, report: Report) -> Staged:
        """Load a model of other weights beside the one that serves."""
        ...

    def promote(self, report: Report, *, allow_missing: bool) -> Promoted:
        """Serve the model that was staged."""
        ...

    def unstage(self, report: Report) -> None:
        """Let go of it."""
        ...


class ModelJobs:
    """Starts the jobs: what is wrong with a request is raised at once, what goes wrong later is the operation's.

    All raise OperationRunning; those of a bundle NotConfigured, PathNotAllowed or PathNotFound as well.
    """

    def __init__(self, operations: Operations, swap: Swap, bundles: Path | None) -> None:
        """``bundles`` is the directory that callers may name bundles of; None: they may not."""
        self._operations, self._swap, self._bundles = operations, swap, bundles

    def reload(self, bundle: str) -> Operation:
        """Serve another bundle of the same weights."""
        path = self._path(bundle)
        return self._start(ModelJobOf("reload", bundle), path, lambda report: self._swap.reload(path, report))

    def stage(self, bundle: str) -> Operation:
        """Load a model of other weights beside the one that serves."""
        path = self._path(bundle)
        return self._start(ModelJobOf("stage", bundle), path, lambda report: self._swap.stage(path, report))

    def promote(self, *, allow_missing: bool) -> Operation:
        """Serve the model that was staged."""
        return self._start(
            ModelJobOf("promote"), None, lambda report: self._swap.promote(report, allow_missing=allow_missing)
        )

    def unstage(self) -> Operation:
        """Let go of the model that was staged, and delete its collections."""

        def work(report: Report) -> Unstaged:
            self._swap.unstage(report)
            return Unstaged()

        return self._start(ModelJobOf("unstage"), None, work)

    def hang_up(self) -> bool:
        """Read the settings' bundle again, as SIGHUP asks for; the log has what comes of it.

        False where another job runs, which may have read it before it was changed: ask again.
        """
        try:
            self.reload("")
        except OperationRunning:
            return False
        return True

    def _start(self, about: ModelJobOf, path: Path | None, job: Callable[[Report], object]) -> Operation:
        def work(report: Report) -> object:
            try:
                return job(report)
            except ClipsearchError as error:
                logger.error("%s: the model stays what it was: %s", about.word, error.message)
                if path is not None:  # these messages reach remote callers
                    error.message = error.message.replace(f"{path.parent}/", "")
                raise

        return self._operations.start(about, work)

    def _path(self, bundle: str) -> Path | None:
        if not bundle:
            return None
        if self._bundles is None:
            raise NotConfigured("this server was started without `bundles`", metadata={"setting": "bundles"})
        path = inside(self._bundles, bundle, "bundle")
        if not path.is_dir():
            raise PathNotFound(f"there is no {bundle}", field="bundle")
        return path
