"""kill -9 of a server that is written to, searched and rebuilding."""

from pathlib import Path

from .kill_server import run_rounds


def test_a_killed_server_comes_back_with_every_acknowledged_write(tmp_path: Path) -> None:
    writers = run_rounds(tmp_path / "data", seed=1, rounds=3)
    assert all(writer.last is not None for writer in writers), "somebody never wrote"
