"""A benchmark whose server cannot start ends at once and says where to look."""

from pathlib import Path

import pytest

from benchmarks.harness.server import clipsearch


def test_a_server_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    why = pytest.raises(RuntimeError, match=r"the server ended with \d+; .*server\.log says why")
    with why, clipsearch(tmp_path / "no-bundle", log):
        pass
    assert "no-bundle" in log.read_text(encoding="utf-8")
