"""The long jobs about the model that serves, started as operations."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clipsearch.disk import inside
from clipsearch.errors import ClipsearchError, NotConfigured, OperationRunning, PathNotFound
from clipsearch.services.build_report import Report
from clipsearch.services.operations import Operation, Operations
from clipsearch.services.serving import ModelFacts

# What the layer above needs of the layers below.
__all__ = ["ModelFacts", "ModelJobs", "ReloadOf", "Reloaded"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReloadOf:
    """What a reload is about: the bundle as the caller named it, empty for the settings' own; gives Reloaded."""

    bundle: str
    kind: ClassVar[str] = "reload"
    subject: ClassVar[str] = "model"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The model that served and the one that serves now, and whether they are two."""

    before: ModelFacts
    after: ModelFacts
    swapped: bool


Reload = Callable[[Path | None, Report], Reloaded]
"""Puts the model of a bundle, None for the settings' own, in the place of the one that serves."""


class ModelJobs:
    """Starts the jobs: what is wrong with a request is raised at once, what goes wrong later is the operation's."""

    def __init__(self, operations: Operations, reload: Reload, bundles: Path | None) -> None:
        """``bundles`` is the directory that callers may name bundles of; None: they may not."""
        self._operations, self._reload, self._bundles = operations, reload, bundles

    def reload(self, bundle: str) -> Operation:
        """Serve another bundle; raises NotConfigured, PathNotAllowed, PathNotFound or OperationRunning."""
        path = self._path(bundle) if bundle else None

        def work(report: Report) -> Reloaded:
            try:
                return self._reload(path, report)
            except ClipsearchError as error:
                logger.error("the model stays what it was: %s", error.message)
                if path is not None:
                    error.message = error.message.replace(f"{path.parent}/", "")
                raise

        return self._operations.start(ReloadOf(bundle), work)

    def hang_up(self) -> None:
        """Read the settings' bundle again, as SIGHUP asks for; the log has what comes of it."""
        try:
            self.reload("")
        except OperationRunning as error:
            logger.warning("the bundle is not read again: %s", error.message)

    def _path(self, bundle: str) -> Path:
        if self._bundles is None:
            raise NotConfigured("this server was started without `bundles`", metadata={"setting": "bundles"})
        path = inside(self._bundles, bundle, "bundle")
        if not path.is_dir():
            raise PathNotFound(f"there is no {bundle}", field="bundle")
        return path
