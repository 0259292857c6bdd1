"""The first index of a loaded collection, built as a server does it: on half of the cores."""

import time

from benchmarks.harness.figures import once
from benchmarks.harness.report import Line, Outcome
from benchmarks.live_harness.context import Context, prepare
from benchmarks.live_harness.memory import PeakMemory
from benchmarks.live_harness.served import opened
from benchmarks.live_harness.stages import Stages
from clipsearch.data import DEFAULT
from clipsearch.index.storage import find_snapshots

SECTION = "build"
TARGET_BYTES = 100.0
"""An item, outside the re-rank vectors."""

MIB = 2**20


def build(context: Context) -> Outcome:
    """Build the index where there is none yet; raises RuntimeError where nothing was loaded, or more than this."""
    vectors = prepare(context)
    with opened(context, vectors.tuning) as data:
        collection = data.collection(DEFAULT)
        if collection.stats().items != context.n:
            raise RuntimeError(f"{context.data} does not hold {context.n} items; run the section load first")
        if find_snapshots(collection.directory):
            raise RuntimeError(f"{context.data} has an index already; run the section load first")
        context.say("building the first index")
        stages, began = Stages(), time.perf_counter()
        with PeakMemory() as memory:
            manifest = collection.rebuild(stages.report)
        seconds = time.perf_counter() - began
        stats = collection.stats()
    parts = manifest.bytes_per_item()
    beside = sum(size for part, size in parts.items() if part != "rerank")
    outcome = Outcome()
    figures: list[tuple[str, str, float, float | None]] = [
        ("first index", "s", seconds, None),
        ("index: codes, lists, centroids", "bytes/item", parts["index"], None),
        ("ids and rows", "bytes/item", parts["ids"], None),
        ("outside the re-rank vectors", "bytes/item", beside, TARGET_BYTES),
        ("re-rank vectors", "bytes/item", parts["rerank"], None),
        ("on disk, catalogue and index", "MiB", stats.disk_bytes / MIB, None),
        ("peak growth of memory, own", "MiB", memory.anonymous_growth / MIB, None),
        ("peak growth of memory, mapped files", "MiB", memory.file_growth / MIB, None),
    ]
    for name, unit, value, target in figures:
        outcome.lines.append(Line(SECTION, name, unit, once(value), target, "lower"))
    for kind, measured in (("pictures", manifest.image_recall), ("texts", manifest.text_recall)):
        if measured is not None:
            line = Line(SECTION, f"recall@10 of {kind}, as built", "", once(measured.recall), manifest.recall_target)
            outcome.lines.append(line)
    outcome.samples = {"manifest": manifest.model_dump(exclude={"files"}), "stages_s": stages.seconds()}
    return outcome
