"""kill -9 of a server that is written to, searched and rebuilding."""

from pathlib import Path

from .kill_server import run_rounds


def test_a_killed_server_comes_back_with_every_acknowledged_write(tmp_path: Path) -> None:
    report = run_rounds(tmp_path / "data", seed=1, rounds=3)
    assert (report.rounds, sum(report.kills.values()), report.restarts_without_a_warning) == (3, 3, 3)
    assert min(report.acknowledged_requests, report.found_at_once, report.items_searched) > 0
