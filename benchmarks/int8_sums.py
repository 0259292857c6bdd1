"""What int8 towers lose on processors without VNNI, and what it costs not to lose it.

    python benchmarks/int8_sums.py

Sessions with ONNX Runtime's option for whole sums, as ours have, and without it, in turns on one thread: cosines with
the fp32 tower, and rates. On a processor with VNNI both are the same. See docs/decisions/0012-packed-texts.md.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from harness.facts import environment
from harness.figures import ratios, summarise
from harness.models import ROOT, TOKENIZER, MissingInput, random_bundle
from harness.report import Line, as_json, table
from packing import texts, vnni
from rich.console import Console

from clipsearch.encoders.packing import packing
from clipsearch.encoders.runtime import WHOLE_SUMS, onnxruntime

RESULTS: Final = ROOT / "benchmarks" / "results" / "int8_sums.json"
TEXTS, TOKENS, PICTURES = 32, 10, 8


def opened(graph: Path, *, whole: bool) -> Any:
    """Return a session of one thread."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if whole:
        options.add_session_config_entry(*WHOLE_SUMS)
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def rate(session: Any, feed: dict[str, Any], items: int, seconds: float) -> float:
    """Return items a second."""
    runs, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        session.run(None, feed)
        runs += 1
    return runs * items / (time.perf_counter() - began)


def measure(exact: Path, bundle: Path, rounds: int, seconds: float) -> list[Line]:
    """Return the lines of both towers; ``exact`` is the bundle of float32."""
    random = np.random.default_rng(0)
    ids = texts([TOKENS] * TEXTS, random)
    pixels = random.integers(0, 256, (PICTURES, 224, 224, 3), dtype=np.uint8)
    lines = []
    for tower, feed in (("text", {"ids": ids, **packing(ids.shape, None)}), ("image", {"pixels": pixels})):
        count = len(next(iter(feed.values())))
        reference = opened(exact / f"{tower}.onnx", whole=True).run(None, feed)[0]
        sessions = {name: opened(bundle / f"{tower}.onnx", whole=name == "whole") for name in ("whole", "cut off")}
        rates: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(rounds):
            for name, session in sessions.items():
                rates[name].append(rate(session, feed, count, seconds))
        for name, session in sessions.items():
            cosines = (session.run(None, feed)[0] * reference).sum(axis=1)
            lines.append(Line(tower, f"{name}: mean cosine with fp32", "", summarise([float(cosines.mean())])))
            lines.append(Line(tower, f"{name}: smallest", "", summarise([float(cosines.min())])))
            lines.append(Line(tower, f"{name}: rate", "items/s", summarise(rates[name])))
        lines.append(Line(tower, "whole / cut off: rate", "x", summarise(ratios(rates["whole"], rates["cut off"]))))
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the result; a hurried run is only shown."""
    parser = argparse.ArgumentParser(description="Measure int8 towers with whole sums and without.")
    parser.add_argument("--quick", action="store_true", help="one short round; for trying, not for figures")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory of CLIP's tokenizer")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="where models are kept")
    arguments = parser.parse_args(argv)
    facts, work, tokenizer = environment(ROOT), arguments.work.resolve(), arguments.tokenizer.resolve()
    try:
        exact, bundle = (random_bundle(work, one, 0, tokenizer) for one in ("fp32", "int8"))
    except MissingInput as error:
        sys.exit(f"{error}.")
    lines = measure(exact, bundle, *((1, 0.3) if arguments.quick else (5, 1.5)))
    screen = Console()
    screen.print(table(lines, "sums of int8"), width=None if screen.is_terminal else 140)
    if not arguments.quick:
        document = {"environment": facts, "settings": {"threads": 1, "vnni": vnni()}, "lines": as_json(lines)}
        RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(f"written to {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
