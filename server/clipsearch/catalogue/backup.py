"""A copy of the catalogue while others write it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from clipsearch.catalogue.failures import storage_errors
from clipsearch.catalogue.schema import FILE, catalogue_file, connect_reader
from clipsearch.disk import flush
from clipsearch.errors import InvalidInput


def backup(collection: Path, to: Path) -> int:
    """Copy the catalogue of ``collection`` into the directory ``to``, as it is now; returns its sequence number.

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
            seq = int(copy.execute("SELECT value FROM meta WHERE key = 'seq'").fetchone()[0])
        flush(unfinished)
        unfinished.rename(target)
        flush(to)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return seq
