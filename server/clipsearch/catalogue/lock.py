"""The right to write a collection, held by one process at a time."""

import fcntl
from pathlib import Path
from typing import BinaryIO

from clipsearch.errors import UnusableIndex

LOCK = "writer.lock"


def take_lock(collection: Path) -> BinaryIO:
    """Lock a collection directory until the file is closed or the process ends, however it ends.

    Raises UnusableIndex where another holds the lock.
    """
    file = (collection / LOCK).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UnusableIndex(f"{collection} is being written by another process") from error
    return file
