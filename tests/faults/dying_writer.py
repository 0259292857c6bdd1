"""A writing process that kills itself at a named step of its work.

``python -m tests.faults.dying_writer ROOT SEED TURN WHEN STEP NTH``: opens the data directory ROOT as a server does,
applies random groups of mutations, has the index rebuilt after every few groups, and says on its standard output when
it begins and when each group is acknowledged. WHEN is ``before`` or ``after`` the NTH time of a step, ``within`` a
statement of many rows, or ``outside``: then it goes on until somebody else kills it.
"""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsearch.catalogue.mutations import Applied
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import Collection, CollectionOptions
from clipsearch.data import DataDirectory
from clipsearch.index.build import IndexOptions
from clipsearch.index.live import LiveIndex
from clipsearch.index.rules import Kind, Training
from clipsearch.index.tuning import Report
from clipsearch.services.build_index import derive_index
from clipsearch.services.build_report import RejectLog, Tally

from .catalogue_model import DIMENSION, random_groups

MODEL = "ab" * 32

GROUPS = 10_000
"""Groups in a round; nobody lives to see the last."""

REBUILD_EVERY = 4

CREATING = ("PRAGMA journal_mode", "CREATE TABLE", "INSERT INTO meta")
"""Steps of making a new catalogue, by the statement."""

WRITING = (
    "BEGIN",
    "SELECT",
    "UPDATE items",
    "INSERT INTO items",
    "INSERT INTO requests",
    "UPDATE meta",
    "DELETE FROM requests",
    "COMMIT",
    "publish",
)
"""Steps of a group: its statements, and showing it to searches."""

REBUILDING = ("flush", "rename", "remove", "swap")
"""Steps of a rebuild: flushing a file or directory, putting an index in its place, removing an old one, serving it."""

CLOSING = ("PRAGMA wal_checkpoint",)
"""Folding the log into the file in the end."""

STEPS = (*CREATING, *WRITING, *REBUILDING, *CLOSING)

WITHIN = ("UPDATE items", "INSERT INTO items")
"""Statements that run for one row after another."""


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a writer dies: before, after or within the ``nth`` time of a step."""

    when: str
    step: str
    nth: int

    def __str__(self) -> str:
        return f"{self.when} {self.step}"


def all_fates() -> list[tuple[str, str]]:
    """Return every pair of when and step that a writer can die at."""
    fates = [(when, step) for step in STEPS for when in ("before", "after")]
    return fates + [("within", step) for step in WITHIN]


class Death:
    """Counts steps, and kills the process when its time has come."""

    def __init__(self, fate: Fate) -> None:
        self._fate, self._left = fate, fate.nth

    def reached(self, when: str, step: str) -> None:
        """Note that something is about to happen, or has happened."""
        if (when, step) != (self._fate.when, self._fate.step):
            return
        self._left -= 1
        if self._left == 0:
            print("died", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, step: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``run`` with a chance to die before and after it."""

        def ran(*arguments: Any, **options: Any) -> Any:
            self.reached("before", step)
            result = run(*arguments, **options)
            self.reached("after", step)
            return result

        return ran

    def during(self, step: str, rows: Iterable[Any]) -> Iterator[Any]:
        """Pass rows on, with a chance to die when one was taken and the next is asked for."""
        for taken, row in enumerate(rows):
            if taken:
                self.reached("within", step)
            yield row


def connection_class(death: Death) -> type[sqlite3.Connection]:
    """Return a connection with a chance to die before and after every statement."""

    class Mortal(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = death.around(step_of(statement), super().execute)(statement, *parameters)
            return cursor

        def executemany(self, statement: str, rows: Iterable[Any]) -> sqlite3.Cursor:
            step = step_of(statement)
            rows = death.during(step, rows)
            cursor: sqlite3.Cursor = death.around(step, super().executemany)(statement, rows)
            return cursor

        def executescript(self, script: str) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = death.around(step_of(script.removeprefix("BEGIN;")), super().executescript)(script)
            return cursor

    return Mortal


def step_of(statement: str) -> str:
    """Return the name of the step that a statement is; empty for one without a name."""
    text = " ".join(statement.split())
    return next((step for step in STEPS if text.startswith(step)), "")


def doom(death: Death) -> None:
    """Make this process mortal: its one writing connection, its files and its index."""
    connect, mortal = sqlite3.connect, connection_class(death)

    def connected(path: object, **options: Any) -> sqlite3.Connection:
        if not options.get("uri"):  # readers give one
            options["factory"] = mortal
        connection: sqlite3.Connection = connect(path, **options)  # type: ignore[call-overload]
        return connection

    sqlite3.connect = connected  # type: ignore[assignment]
    os.fsync = death.around("flush", os.fsync)
    os.rename = death.around("rename", os.rename)
    shutil.rmtree = death.around("remove", shutil.rmtree)  # type: ignore[assignment]
    LiveIndex.apply = death.around("publish", LiveIndex.apply)  # type: ignore[method-assign]
    LiveIndex.swap = death.around("swap", LiveIndex.swap)  # type: ignore[method-assign]


def opened(root: Path, kind: Kind) -> DataDirectory:
    """Open a data directory whose index is of a kind and rebuilt only when that is asked for."""

    def derive(directory: Path, reader: CatalogueReader, report: Report, training: Training) -> None:
        with RejectLog(directory, Tally()) as rejects:
            options = IndexOptions(kind=kind, threads=1, training=training)
            derive_index(directory, reader, queries=None, options=options, report=report, rejects=rejects)

    options = CollectionOptions(DIMENSION, MODEL, derive, device="cpu", threads=1, rebuild_by_itself=False)
    return DataDirectory(root, options)


def kind_of(seed: int, turn: int) -> Kind:
    """Return the kind of index of a round: both in turn, also one after the other in one directory."""
    return (Kind.FLAT, Kind.IVFPQ)[(seed + turn) % 2]


def write(collection: Collection, seed: int, turn: int, fate: Fate) -> None:
    """Apply the groups of this turn, and print the number of each that is acknowledged."""
    if turn % 2:
        # Folds the log into the file every few groups, so that deaths in the middle of that are met too.
        collection._writer._connection.execute("PRAGMA wal_autocheckpoint = 20")
    groups = fate.nth if fate.step in CLOSING else GROUPS
    for number, group in enumerate(random_groups(seed, turn, groups)):
        answers = collection.write(group)
        assert all(isinstance(answer, Applied) for answer in answers), answers
        print(number, flush=True)
        if number % REBUILD_EVERY == REBUILD_EVERY - 1 and collection.view.size:
            collection.rebuild()


def main() -> None:
    """Run as a script."""
    root, seed, turn, when, step, nth = sys.argv[1:]
    fate = Fate(when, step, int(nth))
    # The closing steps come once, after ``nth`` groups.
    doom(Death(Fate(when, step, 1) if step in CLOSING else fate))
    print("begins", flush=True)
    data = opened(Path(root), kind_of(int(seed), int(turn)))
    write(data.collection(""), int(seed), int(turn), fate)
    data.close()


if __name__ == "__main__":
    main()
