"""What it is worth not to compute padding, nor twice what texts begin with, and what it costs where there is neither.

    python benchmarks/packing.py

The same weights in a packed text graph and in one that computes every place of a batch, in turns, on one thread each,
as a server runs them. Needs CLIP's tokenizer and the export extra. See docs/decisions/0012-packed-texts.md.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from harness.facts import environment
from harness.figures import ratios, summarise
from harness.models import ROOT, MissingInput, random_bundle, random_checkpoint
from harness.report import Line, publish
from harness.turns import options, rate
from numpy.typing import NDArray

from clipsearch.encoders.manifest import Precision, load_bundle
from clipsearch.encoders.packing import packing
from clipsearch.encoders.processor import multiplies_bytes
from clipsearch.encoders.runtime import CpuGraph
from clipsearch.ports import Vectors

RESULTS: Final = ROOT / "benchmarks" / "results" / "packing.json"
BEGIN, END, WORDS = 49406, 49407, (1000, 40_000)
"""Ids of CLIP's vocabulary: what marks a text, and a range of words."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A batch: the tokens of each text, and with how many words all of them begin."""

    lengths: Sequence[int]
    alike: int = 0


MIXED: Final = [6 + n % 9 for n in range(32)]
BATCHES: Final[Mapping[str, Texts]] = {
    "one text": Texts([10]),
    "32 texts of one length": Texts([10] * 32),
    "32 texts of 6 to 14 tokens": Texts(MIXED),
    "31 of these and one of 77": Texts([77, *MIXED[:31]]),
    "32 of 6 to 14, three words alike": Texts(MIXED, alike=3),
}


def padded_graph(work: Path, bundle: Path, precision: Precision, tokenizer: Path) -> Path:
    """Return the text graph of a bundle's checkpoint that computes all places; made once, then kept."""
    from clipsearch_export.checkpoint import load_checkpoint
    from clipsearch_export.graph import save
    from clipsearch_export.linear import FloatLinear, Int8Linear
    from clipsearch_export.towers import text_graph

    path = work / f"padded-{bundle.name}" / "text.onnx"
    if not path.exists():
        checkpoint = load_checkpoint(random_checkpoint(work, 0, tokenizer))
        linear = Int8Linear() if precision == "int8" else FloatLinear(np.float32)
        eos_id = checkpoint.model.config.text_config.eos_token_id
        path.parent.mkdir(parents=True, exist_ok=True)
        save(text_graph(checkpoint.weights(), checkpoint.text_config, eos_id, linear, packed=False), path)
    return path


def texts(lengths: Sequence[int], random: np.random.Generator, alike: int = 0) -> NDArray[np.int64]:
    """Draw texts of so many tokens each, int64 [n, longest], padded with end tokens; all begin with ``alike`` words."""
    first = random.integers(*WORDS, alike)
    ids = np.full((len(lengths), max(lengths)), END, dtype=np.int64)
    for row, length in zip(ids, lengths, strict=True):
        row[: length - 1] = [BEGIN, *first, *random.integers(*WORDS, length - 2 - alike)]
    return ids


def measure(graphs: Mapping[str, tuple[CpuGraph, CpuGraph]], rounds: int, seconds: float) -> list[Line]:
    """Return rates, ratios and the smallest cosine between the two; ``graphs`` are packed and padded ones."""
    lines = []
    for precision, pair in graphs.items():
        cosines = []
        for what, batch in BATCHES.items():
            ids = texts(batch.lengths, np.random.default_rng(0), batch.alike)
            packed, padded = (partial(encode, graph, ids, batch.lengths) for graph in pair)
            cosines.append(float((packed() * padded()).sum(axis=1).min()))
            found: dict[str, list[float]] = {"packed": [], "padded": []}
            for _ in range(rounds):
                for name, run in (("packed", packed), ("padded", padded)):
                    found[name].append(len(ids) * rate([run], seconds))
            section = f"{precision}, {what}"
            lines += [Line(section, name, "texts/s", summarise(rates)) for name, rates in found.items()]
            lines.append(Line(section, "packed / padded", "x", summarise(ratios(found["packed"], found["padded"]))))
            print(section, file=sys.stderr, flush=True)
        lines.append(Line(precision, "smallest cosine of both", "", summarise([min(cosines)])))
    return lines


def finding(rounds: int) -> Line:
    """Return how long it takes to find out what is to be computed of a batch."""
    ids = texts(MIXED, np.random.default_rng(0), alike=3)
    took = [1e6 / rate([lambda: packing(ids, MIXED)], 0.2) for _ in range(rounds)]
    return Line("places to compute", "found, of 32 texts", "µs", summarise(took), better="lower")


def encode(graph: CpuGraph, ids: NDArray[np.int64], lengths: Sequence[int]) -> Vectors:
    """Run a batch of texts once."""
    return graph.run(ids.shape, lambda into: np.copyto(into, ids), lengths)


def main() -> None:
    """Measure, show and write."""
    given = options("Measure packed text graphs beside padded ones.", RESULTS, seconds=1.5)
    facts = environment(ROOT)
    graphs: dict[str, tuple[CpuGraph, CpuGraph]] = {}
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    try:
        for precision in precisions:
            bundle = random_bundle(given.work, precision, 0, given.tokenizer)
            padded = padded_graph(given.work, bundle, precision, given.tokenizer)
            graphs[precision] = CpuGraph(load_bundle(bundle).text_graph, 1), CpuGraph(padded, 1)
    except MissingInput as error:
        sys.exit(f"{error}.")
    lines = [*measure(graphs, given.rounds, given.seconds), finding(given.rounds)]
    publish(lines, "packing", facts, {"threads": 1, "vnni": multiplies_bytes()}, given.out)


if __name__ == "__main__":
    main()
