"""A copy of the catalogue while others write it."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from clipsearch.catalogue.failures import storage_errors
from clipsearch.catalogue.schema import FILE, LIVE, catalogue_file, connect_reader
from clipsearch.disk import flush
from clipsearch.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Backup:
    """What a copy holds: the last write's sequence number, and how many items."""

    seq: int
    items: int


def backup(collection: Path, to: Path) -> Backup:
    """Copy the catalogue of ``collection`` into the directory ``to``, as it is now.

    Writers and readers go on meanwhile. The copy appears under its name when it is whole and on the disk; to restore
    it, open ``to`` as a collection: all else there is derived from it. Raises InvalidInput where ``to`` holds a
    catalogue already, UnusableIndex where there is none to copy, StorageFull and StorageFailed.
    """
    target = catalogue_file(to)
    if target.exists():
        raise InvalidInput(f"{target} exists; back up into another directory", field="to")
    to.mkdir(parents=True, exist_ok=True)
    unfinished = to / f".{FILE}.{os.getpid()}"
    unfinished.unlink(missing_ok=True)
    try:
        with (
            closing(connect_reader(catalogue_file(collection))) as source,
            storage_errors(unfinished),
            closing(sqlite3.connect(unfinished)) as copy,
        ):
            # In one step: that is one read transaction, so a writer can neither change the copy nor restart it.
            source.backup(copy, pages=-1)
            (seq,) = copy.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()
            (items,) = copy.execute(f"SELECT count(*) FROM {LIVE}").fetchone()
        flush(unfinished)
        unfinished.rename(target)
        flush(to)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return Backup(int(seq), int(items))
