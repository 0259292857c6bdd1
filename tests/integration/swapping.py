"""Swaps two bundles in a process of its own and prints by how much its peak of memory grew, and a model's size, in KiB.

python -m tests.integration.swapping DIRECTORY BUNDLE OTHER
"""

import sys
from pathlib import Path

from clipsearch.client import Client
from clipsearch.settings import Settings
from tests.integration.support import Running
from tests.memory import most_resident_kib

WARM, SWAPS = 20, 20


def main(directory: Path, first: str, second: str) -> None:
    """Swap until the allocators have what they want, and then as often again, embedding in between."""
    settings = Settings(bundle=directory / first, bundles=directory, listen="127.0.0.1:0", device="cpu")
    with Running(settings) as running, Client(running.address, timeout=60.0) as client:
        before = 0
        for swap in range(WARM + SWAPS):
            if swap == WARM:
                before = most_resident_kib()
            assert client.models.reload(first if swap % 2 else second).wait(60.0).swapped
            for result in client.embed_batch(["a red shirt", "boots"] * 20):
                assert not isinstance(result, Exception)
        grown = most_resident_kib() - before
    print(grown, sum(file.stat().st_size for file in (directory / first).iterdir()) // 1024)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
