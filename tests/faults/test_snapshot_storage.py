"""A snapshot for which there is no room: for its index, or for its catalogue."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipsearch.backups import take_snapshot
from clipsearch.index.storage import newest_snapshot
from clipsearch.offline import Request
from clipsearch.verification import verify
from tests.integration.build_support import run, unit

from .kill_writer import ROOT

PROGRAM = """
import resource, sys
from pathlib import Path
from clipsearch.backups import take_snapshot
from clipsearch.errors import StorageFull
origin, to, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    take_snapshot({"origin": origin}, to, lambda *_: None)
except StorageFull:
    print("full")
"""


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A collection of 2,000 items with its index."""
    np.save(tmp_path / "v.npy", unit(2000))
    run(Request(tmp_path / "v.npy", tmp_path / "origin"))
    return tmp_path / "origin"


@pytest.mark.parametrize("room_for_the_index", [False, True])
def test_a_snapshot_without_room_leaves_nothing(origin: Path, tmp_path: Path, room_for_the_index: bool) -> None:
    largest = max(path.stat().st_size for path in newest_snapshot(origin).iterdir())
    limit = largest + 4096 if room_for_the_index else largest - 1
    command = [sys.executable, "-c", PROGRAM, str(origin), str(tmp_path / "snapshots/full"), str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "full\n", done.stderr
    assert list((tmp_path / "snapshots").iterdir()) == []
    take_snapshot({"origin": origin}, tmp_path / "snapshots/full", lambda stage, done, total: None)
    assert verify(tmp_path / "snapshots/full/origin").ok
