"""``rows.npy``: which row of the catalogue lies at which position of the index, [N], ascending.

uint32 where that reaches, which spares half of the file; int64 in memory.
"""

from pathlib import Path

import numpy as np

from clipsearch.errors import UnusableIndex
from clipsearch.ports import Rows

ROWS = "rows.npy"


def write_rows(directory: Path, rows: Rows) -> None:
    """Write the row of each position; raises ValueError unless they ascend."""
    if not _ascends(rows):
        raise ValueError("rows must ascend, so that a row's position is a binary search")
    small = len(rows) == 0 or rows[-1] < 2**32
    np.save(directory / ROWS, rows.astype(np.uint32 if small else np.int64))


def open_rows(directory: Path, n: int) -> Rows:
    """Read the rows of ``n`` positions, int64; raises UnusableIndex where the file is something else."""
    path = directory / ROWS
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnusableIndex(f"{path} cannot be read ({error}); build the index again") from error
    if rows.shape != (n,) or rows.dtype not in (np.uint32, np.int64):
        raise UnusableIndex(f"{path} does not hold {n} ascending rows; build the index again")
    # Before the check: differences of unsigned numbers are never negative.
    wide: Rows = rows.astype(np.int64)
    if not _ascends(wide):
        raise UnusableIndex(f"{path} does not hold {n} ascending rows; build the index again")
    return wide


def _ascends(rows: Rows) -> bool:
    return bool((len(rows) == 0 or rows[0] >= 0) and np.all(np.diff(rows) > 0))
