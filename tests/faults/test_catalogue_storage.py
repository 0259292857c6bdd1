"""A disk without room, a second writer, and a file that somebody else holds."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsearch.catalogue.backup import Backup, backup
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Upsert
from clipsearch.catalogue.schema import FILE
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import Code, StorageFailed, StorageFull

from .full_disk import BATCH
from .kill_writer import ROOT

DIMENSION = 16


def items(first: int, count: int) -> Upsert:
    return Upsert([Item(f"i{n}", "{}", np.full(DIMENSION, n + 1, np.float16)) for n in range(first, first + count)])


@pytest.mark.parametrize("checkpoint", [8192, 20])
def test_without_room_writes_are_refused_reads_go_on_and_writing_resumes(tmp_path: Path, checkpoint: int) -> None:
    command = [sys.executable, "-m", "tests.faults.full_disk", str(tmp_path), str(1_000_000), str(checkpoint)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    written = seen["written"]
    assert written >= 3 and seen["error"] == "StorageFull"
    assert seen["again"] == written, "what was refused was stored all the same"
    assert (seen["live"], seen["seq"], seen["get"]) == (written * BATCH, written, True)
    assert seen["resumed"] == [written + 1, False, BATCH]
    assert seen["after"] == seen["live_in_the_end"] == (written + 1) * BATCH
    assert seen["ok"]


def test_what_sqlite_calls_full_is_full(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path, DIMENSION, None) as writer:
        (pages,) = writer._connection.execute("PRAGMA page_count").fetchone()
        writer._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StorageFull, match="nothing was stored") as refused:
            writer.apply([items(0, 1000)])
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
        assert writer.seq == 0
        writer._connection.execute("PRAGMA max_page_count = 100000")
        (applied,) = writer.apply([items(0, 1000)])
        assert isinstance(applied, Applied) and applied.rows.tolist() == list(range(1000))


def test_a_file_that_another_program_holds_is_a_failure_that_passes(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path, DIMENSION, None) as writer:
        writer._connection.execute("PRAGMA busy_timeout = 1")
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageFailed, match="locked"):
                writer.apply([items(0, 1)])
            other.execute("ROLLBACK")
        (applied,) = writer.apply([items(0, 1)])
        assert isinstance(applied, Applied) and applied.seq == 1


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """A trigger stands in for a disk that fails at the third row."""
    with CatalogueWriter(tmp_path, DIMENSION, None) as writer:
        writer.apply([items(0, 2)])
        writer._connection.execute(
            "CREATE TRIGGER broken AFTER INSERT ON items WHEN new.id = 'i4' BEGIN SELECT RAISE(FAIL, 'broken'); END"
        )
        with pytest.raises(StorageFailed, match="broken"):
            writer.apply([items(2, 2), items(4, 2)])
        writer._connection.execute("DROP TRIGGER broken")
        assert (writer.seq, writer.known(["i2", "i3", "i4"])) == (1, {})
        (applied,) = writer.apply([items(2, 4)])
        assert isinstance(applied, Applied) and applied.rows.tolist() == [2, 3, 4, 5]


class UnsureConnection:
    """A connection whose next COMMIT reports a failed flush, though all of it has reached the disk."""

    def __init__(self, connection: Any) -> None:
        self._connection, self._fails = connection, True

    def execute(self, statement: str, *parameters: Any) -> Any:
        result = self._connection.execute(statement, *parameters)
        if statement == "COMMIT" and self._fails:
            self._fails = False
            raise sqlite3.OperationalError("disk I/O error")
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_a_commit_of_unknown_outcome_is_not_acknowledged_and_safe_to_repeat(tmp_path: Path) -> None:
    first, second = replace(items(0, 2), request_id="one"), replace(items(2, 2), request_id="two")
    with CatalogueWriter(tmp_path, DIMENSION, None) as writer:
        writer._connection = UnsureConnection(writer._connection)  # type: ignore[assignment]
        with pytest.raises(StorageFailed, match="disk I/O error"):
            writer.apply([first])
        again, other = writer.apply([first, second])
        assert isinstance(again, Applied) and isinstance(other, Applied)
        assert (again.repeated, again.seq, other.repeated, other.seq) == (True, 1, False, 2)
        assert other.rows.tolist() == [2, 3]


def test_a_second_process_may_not_write(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from clipsearch.catalogue.writer import CatalogueWriter; "
        f"CatalogueWriter(Path(sys.argv[1]), {DIMENSION}, None)"
    )
    with CatalogueWriter(tmp_path, DIMENSION, None) as writer:
        second = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert second.returncode == 1 and "is being written by another process" in second.stderr
        writer.apply([items(0, 1)])
    third = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert third.returncode == 0, third.stderr


def test_a_backup_without_room_leaves_no_torn_copy(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path / "origin", DIMENSION, None) as writer:
        writer.apply([items(0, 2000)])
    program = (
        "import resource, sys; from pathlib import Path; from clipsearch.catalogue.backup import backup; "
        "from clipsearch.errors import StorageFull\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: backup(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except StorageFull: print('full')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "origin"), str(tmp_path / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "full\n", done.stderr
    assert not [path for path in (tmp_path / "copy").iterdir() if path.name == FILE]
    assert backup(tmp_path / "origin", tmp_path / "copy") == Backup(seq=1, items=2000)
