"""Memory does not grow with the input."""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipsearch.embed_job import listing
from clipsearch.embed_job.listing import Listing

ROOT = Path(__file__).parents[3]
EMBED = """
import sys
from pathlib import Path
from tests.memory import most_resident_kib
from tests.unit.embed_job.support import HashEngine, embed_lines
import pyarrow.parquet
directory, suffix, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
source = directory / "lines.txt"
with source.open("w") as file:
    file.writelines(f"text number {n}\\n" if n % 50 else "\\n" for n in range(count))
made = embed_lines(source, directory / f"x{suffix}", HashEngine(block=256, remember=False))
assert made.taken == count
print(most_resident_kib())
"""


def most_resident_kib(directory: Path, suffix: str, count: int) -> int:
    """Embed so many texts in a process of its own; returns the most memory that it had."""
    directory.mkdir()
    command = [sys.executable, "-c", EMBED, str(directory), suffix, str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_two_hundred_thousand_texts_take_no_more_than_twenty_thousand(tmp_path: Path, suffix: str) -> None:
    few = most_resident_kib(tmp_path / "few", suffix, 20_000)
    many = most_resident_kib(tmp_path / "many", suffix, 200_000)
    # The ids alone, if they were held, would be more than this; Parquet's footer does grow, by a line for each group.
    assert many - few < 4 * 1024


def test_a_listing_is_sorted_without_holding_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 400_000

    def walk(root: Path, on_error: Callable[[OSError], None]) -> Iterator[str]:
        return (f"pictures/{n * 7919 % count:09}.jpg" for n in range(count))

    monkeypatch.setattr(listing, "scan_pictures", walk)
    tracemalloc.start()
    sorted_ = Listing(tmp_path, tmp_path, run=20_000)
    last = ""
    for name in sorted_:
        assert name > last
        last = name
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sorted_.count == count
    assert peak < 10_000_000, "all names at once take three times as much"
