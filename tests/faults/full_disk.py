"""A writer that runs into a limit on file sizes, as into a full disk, and out of it again.

``python -m tests.faults.full_disk COLLECTION LIMIT CHECKPOINT``: LIMIT bytes a file, the log folded into the file after
CHECKPOINT pages. Prints what it saw as one line of JSON.
"""

import json
import resource
import signal
import sys
from pathlib import Path

import numpy as np

from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.verify import verify_catalogue
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import ClipsearchError

DIMENSION = 512
BATCH = 100


def batch(number: int) -> list[Upsert]:
    vectors = np.random.default_rng(number).standard_normal((BATCH, DIMENSION)).astype(np.float16)
    return [Upsert([Item(f"{number}-{i}", "{}", vector) for i, vector in enumerate(vectors)], f"request-{number}")]


def write_until_refused(writer: CatalogueWriter, first: int) -> tuple[int, ClipsearchError]:
    """Return how many batches were acknowledged, and the error that ended it."""
    for number in range(first, first + 1000):
        try:
            writer.apply(batch(number))
        except ClipsearchError as error:
            return number, error
    raise AssertionError("the limit was never met")


def main(collection: Path, limit: int, checkpoint: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that write(2) fails instead of killing us
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with CatalogueWriter(collection, DIMENSION, None) as writer, CatalogueReader(collection) as reader:
        writer._connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        written, error = write_until_refused(writer, 0)
        again, _ = write_until_refused(writer, written)
        seen = {"live": reader.counts().live, "seq": writer.seq, "get": reader.get("0-0") is not None}
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        (resumed,) = writer.apply(batch(written))
        assert isinstance(resumed, Applied)
        after = reader.counts().live
    found = verify_catalogue(collection)
    report = {
        "written": written,
        "again": again,
        "error": type(error).__name__,
        **seen,
        "resumed": [resumed.seq, resumed.repeated, len(resumed.rows)],
        "after": after,
        "ok": found.ok,
        "live_in_the_end": found.live,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
