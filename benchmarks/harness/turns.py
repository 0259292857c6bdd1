"""What comparisons of runs in this process share: their command line, and how often a run can be made."""

import argparse
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .models import ROOT, TOKENIZER


def options(description: str, out: Path, seconds: float) -> argparse.Namespace:
    """Parse ``--rounds``, ``--seconds`` (of each turn), ``--out``, ``--work`` and ``--tokenizer``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=seconds, help="of each turn")
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="where models are kept")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory of CLIP's tokenizer")
    given = parser.parse_args()
    given.work, given.tokenizer = given.work.resolve(), given.tokenizer.resolve()
    given.work.mkdir(parents=True, exist_ok=True)
    return given


def rate(runs: Sequence[Callable[[], object]], seconds: float) -> float:
    """Return how many runs a second were made, each callable on a thread of its own, again and again."""
    counts, stop = [0] * len(runs), time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < stop:
            runs[number]()
            counts[number] += 1

    for run in runs:
        run()
    stop = time.perf_counter() + seconds
    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)
