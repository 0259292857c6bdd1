"""Run by ``restart`` in a process of its own: open the data directory, answer, say when what was done.

``python -m benchmarks.live_harness.reopen WORK N STARTED``: N items under WORK, STARTED on the monotonic clock.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.live_harness.memory import resident
from benchmarks.live_harness.questions import check_answers, read_questions
from benchmarks.live_harness.served import MODEL
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import CollectionOptions
from clipsearch.data import DEFAULT, DataDirectory
from clipsearch.index.storage import check_files, newest_snapshot, read_ivfpq, read_manifest


def main() -> None:
    """Print seconds, and bytes of own memory that an item costs, as JSON."""
    work, n, started = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    queries, answers = read_questions(work)
    options = CollectionOptions(queries.shape[1], MODEL, _no_rebuild, device="cpu", rebuild_by_itself=False)
    imported, before = time.monotonic(), resident()[0]
    data = DataDirectory(work / "data", options)
    opened = time.monotonic()
    collection = data.collection(DEFAULT)
    check_answers(collection, queries[:1], answers[:1])
    answered = time.monotonic()
    check_answers(collection, queries[1:], answers[1:])
    memory = (resident()[0] - before) / n
    data.close()
    found = {
        "imports": imported - started,
        "opening": opened - imported,
        **_steps(collection.directory),
        "first search": answered - opened,
        "first answer": answered - started,
        "own memory of an open collection": memory,
    }
    print(json.dumps(found))


def _steps(directory: Path) -> dict[str, float]:
    """Time the long steps of opening once more, one by one; their files are in the cache by now."""
    path = newest_snapshot(directory)
    manifest = read_manifest(path)
    steps: dict[str, Callable[[], object]] = {"checksums": lambda: check_files(path, manifest, hashes=True)}
    if manifest.ivfpq is not None:
        steps["codes and lists"] = lambda: read_ivfpq(path, manifest)
    times = {}
    with CatalogueReader(directory) as reader:
        steps["rows that live"] = lambda: reader.rows_since(0)
        for name, step in steps.items():
            began = time.monotonic()
            step()
            times[f"of opening, again: {name}"] = time.monotonic() - began
    return times


def _no_rebuild(*_: object) -> None:
    raise AssertionError("nothing asks for a rebuild here")


if __name__ == "__main__":
    main()
