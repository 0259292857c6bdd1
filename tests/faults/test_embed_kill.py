"""kill -9 of ``clipsearch embed``, wherever it is, and the same command again."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from clipsearch.embed_job.work import WorkDirectory
from clipsearch.settings import Settings
from tests.integration.support import ROOT, SAMPLE_BUNDLE, Running
from tests.unit.embed_job.support import HashEngine, embed_lines, made

LIMIT_S = 240.0
LINES, PAUSE_S = 50, 0.05
"""How fast lines are given: a note is made every two seconds, when a block is done."""

ENVIRONMENT = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
TEXTS = [f"a photo of {n} {noun}" for n in range(5000) for noun in ("red shoes", "green caps", "dark blue jackets")]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_killed_at_every_file_operation(tmp_path: Path, suffix: str) -> None:
    command = [sys.executable, "-m", "tests.faults.dying_embed", str(tmp_path), suffix]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50, "so many operations there are at least"


class Killed:
    """``clipsearch embed`` of standard input, killed once it has noted some of it."""

    def __init__(self, out: Path, arguments: list[str]) -> None:
        self._out = out
        self._command = [sys.executable, "-m", "clipsearch", "embed", "-", "--out", str(out), *arguments]

    def run(self) -> int:
        """Give it lines until it has noted some, and kill it; returns how many lines it was given.

        Its input stays open, so that the job can't have come to its end.
        """
        note = WorkDirectory(self._out).path / "progress.json"
        tick = threading.Event()
        with subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        ) as process:
            assert process.stdin is not None
            given = 0
            while not note.exists():
                assert given < len(TEXTS), "nothing was noted"
                process.stdin.write("".join(text + "\n" for text in TEXTS[given : given + LINES]).encode())
                process.stdin.flush()
                given += LINES
                tick.wait(PAUSE_S)
            process.send_signal(signal.SIGKILL)
        return given

    def finish(self) -> str:
        """Run it to its end; returns what it says."""
        text = "".join(line + "\n" for line in TEXTS)
        done = subprocess.run(
            self._command, input=text, capture_output=True, text=True, timeout=LIMIT_S, env=ENVIRONMENT, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr


def test_in_process_the_vectors_are_those_of_an_uninterrupted_run(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    Killed(whole, ["--bundle", str(SAMPLE_BUNDLE)]).finish()
    job = Killed(parts, ["--bundle", str(SAMPLE_BUNDLE)])
    given = job.run()
    said = job.finish()
    assert "items were embedded by an earlier run" in said, f"killed after {given} lines"
    assert parts.read_bytes() == whole.read_bytes()


def test_through_a_server_no_item_is_lost_or_moved(tmp_path: Path) -> None:
    out = tmp_path / "x.npy"
    with Running(Settings(bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0")) as server:
        job = Killed(out, ["--server", server.address])
        job.run()
        assert "items were embedded by an earlier run" in job.finish()
    reference = tmp_path / "reference.npy"
    Killed(reference, ["--bundle", str(SAMPLE_BUNDLE)]).finish()
    # The server's batches are others, and sums in another order differ in the last bits.
    np.testing.assert_allclose(np.load(out), np.load(reference), atol=1e-5)
    assert Path(f"{out}.ids.jsonl").read_bytes() == Path(f"{reference}.ids.jsonl").read_bytes()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.unit.embed_job.support import HashEngine, embed_lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that write(2) fails instead of killing us
directory = Path(sys.argv[1])
source, out = directory / "lines.txt", directory / "x.npy"
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
engine = HashEngine(block=100)
try:
    embed_lines(source, out, engine)
except OSError as error:
    print(error.strerror, len(engine.seen))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
embed_lines(source, out, HashEngine(block=100))
"""


def test_a_full_disk_loses_nothing_that_was_noted(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for directory in (whole, parts):
        directory.mkdir()
        (directory / "lines.txt").write_text("".join(f"text {n}\n" for n in range(10_000)))
    embed_lines(whole / "lines.txt", whole / "x.npy", HashEngine())
    command = [sys.executable, "-c", FULL_DISK, str(parts)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("File too large "), "the limit was never met"
    assert made(parts / "x.npy") == made(whole / "x.npy")
