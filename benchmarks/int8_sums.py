"""What int8 towers lose on processors without VNNI, and what it costs not to lose it.

    python benchmarks/int8_sums.py

Sessions with ONNX Runtime's option for whole sums, as ours have, and without it, in turns on one thread: cosines with
the fp32 tower, and rates. On a processor with VNNI both are the same. See docs/decisions/0012-packed-texts.md.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from harness.facts import environment
from harness.figures import ratios, summarise
from harness.models import ROOT, MissingInput, random_bundle
from harness.report import Line, publish
from harness.turns import options, rate
from packing import texts, vnni

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
                rates[name].append(count * rate([partial(session.run, None, feed)], seconds))
        for name, session in sessions.items():
            cosines = (session.run(None, feed)[0] * reference).sum(axis=1)
            lines.append(Line(tower, f"{name}: mean cosine with fp32", "", summarise([float(cosines.mean())])))
            lines.append(Line(tower, f"{name}: smallest", "", summarise([float(cosines.min())])))
            lines.append(Line(tower, f"{name}: rate", "items/s", summarise(rates[name])))
        lines.append(Line(tower, "whole / cut off: rate", "x", summarise(ratios(rates["whole"], rates["cut off"]))))
    return lines


def main() -> None:
    """Measure, show and write."""
    given = options("Measure int8 towers with whole sums and without.", RESULTS, seconds=1.5)
    facts = environment(ROOT)
    try:
        exact, bundle = (random_bundle(given.work, one, 0, given.tokenizer) for one in ("fp32", "int8"))
    except MissingInput as error:
        sys.exit(f"{error}.")
    lines = measure(exact, bundle, given.rounds, given.seconds)
    publish(lines, "sums of int8", facts, {"threads": 1, "vnni": vnni()}, given.out)


if __name__ == "__main__":
    main()
