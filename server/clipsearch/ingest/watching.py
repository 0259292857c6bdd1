"""Keeping a collection in step with a source that changes."""

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

from clipsearch.client import Client, ClientError, DeadlineExceeded, Overloaded, Unavailable
from clipsearch.ingest.directory import DirectorySource
from clipsearch.ingest.ingest import Ingest, Outcome
from clipsearch.ingest.sending import READY_POLL_S

DEBOUNCE_MS = 1_600
"""Changes closer together than this come as one: a file that is being copied changes many times."""

EVERYTHING = ""
"""Stands among changed paths for all there are."""

_POLL_MS = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Something to watch: a directory and all below it, or, with a ``name``, one file in it."""

    root: Path
    name: str = ""

    @classmethod
    def of(cls, path: Path) -> "Place":
        """Of a file its parent is watched: editors put a new file in the old one's place."""
        full = Path(os.path.abspath(path))  # noqa: PTH100  (resolve would follow links, and changes come without)
        return cls(full) if full.is_dir() else cls(full.parent, full.name)

    def wants(self, changed: str) -> bool:
        """Whether a changed path is of interest; hidden ones are not."""
        if self.name:
            return Path(changed).name == self.name
        return not any(part.startswith(".") for part in Path(changed).relative_to(self.root).parts)


class Changes:
    """Watches places on threads. A context manager: from its begin on no change is missed."""

    def __init__(self, places: Iterable[Path], stop: threading.Event) -> None:
        """``stop`` ends the watching, and a wait for changes with it."""
        self._places = [Place.of(path) for path in places]
        self._stop = stop
        self._found: SimpleQueue[set[str]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None

    def next(self) -> set[str]:
        """Wait for changes and return the paths, all that are known by then; an empty set once ``stop`` is set."""
        while not self._stop.is_set():
            if self._failure is not None:
                raise self._failure
            try:
                changed = self._found.get(timeout=_POLL_MS / 1000)
            except Empty:
                continue
            while not self._found.empty():
                changed |= self._found.get()
            return changed
        return set()

    def everything(self) -> None:
        """Have the next wait return at once, with ``EVERYTHING`` among the changes."""
        self._found.put({EVERYTHING})

    def _watch(self, place: Place, begun: threading.Event) -> None:
        from watchfiles import watch

        try:
            for changes in watch(
                place.root,
                watch_filter=lambda _, path: place.wants(path),
                debounce=DEBOUNCE_MS,
                rust_timeout=_POLL_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                recursive=not place.name,
                raise_interrupt=False,
            ):
                begun.set()
                if changes:
                    self._found.put({path for _, path in changes})
        except BaseException as error:  # noqa: BLE001  (raised in the thread that waits for changes)
            self._failure = error
        finally:
            begun.set()

    def __enter__(self) -> Self:
        for place in self._places:
            begun = threading.Event()
            thread = threading.Thread(target=self._watch, args=(place, begun), name="watch", daemon=True)
            thread.start()
            self._threads.append(thread)
            begun.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def keep_in_step(
    ingest: Ingest,
    source: DirectorySource | None,
    changes: Changes,
    client: Client,
    *,
    stop: threading.Event,
    told: Callable[[Outcome | ClientError], None],
) -> None:
    """Repeat what changes call for until ``stop`` is set; ``told`` hears of each pass.

    ``source`` is a directory whose pictures are items by themselves, of which only what changed is looked at; None:
    everything is. A server that goes away is waited for, and then everything is looked at. Raises other ClientErrors.
    """
    while changed := changes.next():
        try:
            told(_pass(ingest, source, changed))
        except (Unavailable, DeadlineExceeded, Overloaded) as error:
            told(error)
            _wait_for(client, stop)
            changes.everything()


def _pass(ingest: Ingest, source: DirectorySource | None, changed: set[str]) -> Outcome:
    if source is None or EVERYTHING in changed:
        return ingest.sync()
    root = Place.of(source.root).root
    paths = [Path(path).relative_to(root).as_posix() for path in changed]
    # The directory itself, such as when it was moved away or back.
    return ingest.sync() if "." in paths else ingest.sync_paths(source, paths)


def _wait_for(client: Client, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            client.wait_until_ready(READY_POLL_S)
        except (Unavailable, DeadlineExceeded):
            continue
        return
