"""The data directory: one sub-directory for each collection, all of them open while the server runs."""

import logging
import re
import shutil
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clipsearch.collection import Collection, CollectionOptions
from clipsearch.disk import flush
from clipsearch.errors import (
    BadCollectionName,
    CollectionExists,
    CollectionNotFound,
    ConfigError,
    ModelReplaced,
)
from clipsearch.succession import settle

logger = logging.getLogger(__name__)

DEFAULT = "default"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DELETED = ".deleted-"


def collection_directories(root: Path) -> dict[str, Path]:
    """Return the directories of all collections under ``root`` by name, sorted; others are passed over."""
    found = {path.name: path for path in root.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)}
    return dict(sorted(found.items()))


class DataDirectory:
    """The collections there are, by name. Thread-safe; looking one up is a dictionary access."""

    def __init__(self, root: Path, options: CollectionOptions) -> None:
        """Open every collection under ``root``, and an empty default one where there is none.

        Raises ConfigError where there can be no such directory, and UnusableIndex where a collection cannot be opened:
        a server that silently lacks one is worse than none.
        """
        self.root, self._options = root, options
        self._lock = threading.Lock()
        self._succeeded = False
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"the data directory {root} cannot be made: {error.strerror}") from error
        settle(root)
        for left_over in root.glob(f"{_DELETED}*"):
            shutil.rmtree(left_over)
        self._open: dict[str, Collection] = {}
        try:
            for name in sorted({*collection_directories(root), DEFAULT}):
                self._open[name] = Collection(name, root / name, options)
        except BaseException:
            self.close()
            raise

    def collection(self, name: str) -> Collection:
        """Return a collection, the default one for an empty name; raises CollectionNotFound."""
        try:
            return self._open[name or DEFAULT]
        except KeyError:
            raise CollectionNotFound(f"there is no collection {name!r}", metadata={"collection": name}) from None

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._open)

    def create(self, name: str) -> None:
        """Make an empty collection; raises BadCollectionName or CollectionExists. Writes to the disk."""
        if not _NAME.fullmatch(name):
            raise BadCollectionName(
                "a collection's name has 1 to 64 lower-case letters, digits, - and _, a letter or digit first",
                field="collection",
            )
        with self._lock:
            self._check_serving()
            if name in self._open:
                raise CollectionExists(f"there is a collection {name!r} already", metadata={"collection": name})
            self._open[name] = Collection(name, self.root / name, self._options)

    def delete(self, name: str) -> None:
        """Delete a collection and its files; raises CollectionNotFound. The default one is made again, empty.

        Renamed first, which is one step: a crash leaves the whole collection or a rest that the next start removes.
        """
        with self._lock:
            self._check_serving()
            collection = self._open.pop(name, None)
            if collection is None:
                raise CollectionNotFound(f"there is no collection {name!r}", metadata={"collection": name})
            collection.close()
            doomed = self.root / f"{_DELETED}{name}"
            if doomed.exists():  # a deletion failed half-way
                shutil.rmtree(doomed)
            (self.root / name).rename(doomed)
            flush(self.root)  # or a power cut brings the collection back
            if name == DEFAULT:
                self._open[DEFAULT] = Collection(DEFAULT, self.root / DEFAULT, self._options)
            shutil.rmtree(doomed)
        logger.info("deleted collection %s", name)

    def use(self, options: CollectionOptions) -> None:
        """Take another way to derive indexes, by another precision of the model whose vectors these are."""
        with self._lock:
            self._options = options
            for collection in self._open.values():
                collection.use(options)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep whoever writes, makes or deletes a collection waiting inside this."""
        with self._lock, ExitStack() as stack:
            for collection in self._open.values():
                stack.enter_context(collection.frozen())
            yield

    def succeeded(self) -> None:
        """Inside ``frozen``: refuse changes from now on, as another directory has taken this one's place."""
        self._succeeded = True
        for collection in self._open.values():
            collection.succeeded()

    def _check_serving(self) -> None:
        if self._succeeded:
            raise ModelReplaced("another model took over meanwhile")

    def close_when_unused(self) -> None:
        """Close the collections once nobody refers to this any more, on a thread of their own."""
        weakref.finalize(self, _close_beside, list(self._open.values())).atexit = False

    def made_by_others(self, weight_hash: str, dimension: int) -> list[str]:
        """Return the names of the collections that are of another model than that, sorted."""
        return [
            name
            for name, collection in sorted(self._open.items())
            if collection.reader.dimension != dimension or collection.reader.model_hash not in (None, weight_hash)
        ]

    def rebuild_where_due(self) -> None:
        """Start to rebuild, in the background, every index that needs it."""
        for collection in list(self._open.values()):
            collection.rebuild_if_due()

    def stop_rebuilding(self) -> None:
        """Have all rebuilds end at their next steps, for a shutdown."""
        for collection in list(self._open.values()):
            collection.stop_rebuilding()

    def save_indexes(self, seconds: float) -> None:
        """Before ``close``, with the rebuilds stopped: write indexes where they spare the next start a long replay.

        One after the other, in so many seconds for all of them.
        """
        end = time.monotonic() + seconds
        for collection in list(self._open.values()):
            collection.save_index(end - time.monotonic())

    def close(self) -> None:
        """Close all collections; a rebuild that runs is stopped."""
        self.stop_rebuilding()
        for collection in self._open.values():
            collection.close()


def _close_beside(collections: Sequence[Collection]) -> None:
    def close() -> None:
        for collection in collections:
            collection.close()

    threading.Thread(target=close, name="close-collections", daemon=True).start()
