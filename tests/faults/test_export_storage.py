"""An export for which there is no room leaves what was there before it, and works when there is room."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from clipsearch.offline import Request
from clipsearch.services.exports import export_items
from tests.integration.build_support import run, unit

from .kill_writer import ROOT

PROGRAM = """
import resource, signal, sys
from pathlib import Path
from clipsearch.errors import StorageFull
from clipsearch.services.exports import export_items
origin, to, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    export_items(origin, to, lambda *_: None, overwrite=True)
except StorageFull as error:
    print(str(to.parent) not in error.message)
"""


@pytest.mark.parametrize("room", [0, 20_000, -1], ids=["none", "for a part", "for all but a byte"])
def test_an_export_without_room_leaves_the_old_file_and_no_other(tmp_path: Path, room: int) -> None:
    np.save(tmp_path / "v.npy", unit(3000))
    run(Request(tmp_path / "v.npy", tmp_path / "origin"))
    to = tmp_path / "exports/items.parquet"
    whole = export_items(tmp_path / "origin", to, lambda stage, done, total: None)
    before = to.read_bytes()
    limit = room if room >= 0 else whole.file_bytes + room
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "origin"), str(to), str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert list(to.parent.iterdir()) == [to] and to.read_bytes() == before
    again = export_items(tmp_path / "origin", to, lambda stage, done, total: None, overwrite=True)
    assert again == whole and pyarrow.parquet.read_metadata(to).num_rows == 3000
