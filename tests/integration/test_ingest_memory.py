"""Ten thousand small pictures: the command's memory does not grow with their number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipsearch.client import Client
from clipsearch.settings import Settings
from tests.integration.ingesting import Desk, jpeg
from tests.integration.support import ROOT, SAMPLE_BUNDLE, Running

FEW, MANY = 1_000, 10_000
MOST_MORE_KIB = 8 * 1024
"""What SQLite's cache and the allocator may take more; the pictures alone are 14 MiB, their names another one."""

RUN = """
import sys
from tests.memory import most_resident_kib
from clipsearch.cli.shell import shell
try:
    shell(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
print("KiB", most_resident_kib())
"""


def most_resident_kib(desk: Desk, photos: Path) -> int:
    """Ingest in a process of its own; returns the most memory that it had."""
    command = [sys.executable, "-c", RUN, *desk.arguments(photos)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("KiB")[1])


@pytest.mark.slow
def test_ten_thousand_pictures_take_no_more_than_one_thousand(tmp_path: Path) -> None:
    pictures = [jpeg(number, side=96) for number in range(100)]
    for number in range(MANY):
        for root in ("many", "few") if number < FEW else ("many",):
            path = tmp_path / root / f"{number % 50:02}" / f"{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pictures[number % len(pictures)] + number.to_bytes(4))
    settings = Settings(bundle=SAMPLE_BUNDLE, data=tmp_path / "data", listen="127.0.0.1:0", device="cpu")
    with Running(settings) as server:
        few = most_resident_kib(Desk(server.address, "few", tmp_path), tmp_path / "few")
        desk = Desk(server.address, "many", tmp_path)
        many = most_resident_kib(desk, tmp_path / "many")
        again = most_resident_kib(desk, tmp_path / "many")
        with Client(server.address) as client:
            assert client.catalogue.stats("many").items == MANY
    assert many - few < MOST_MORE_KIB
    assert again - few < MOST_MORE_KIB
