"""What it costs, and brings, that pairs of int8 weights fit the 16 bits in which AVX2 adds their products.

    python benchmarks/int8_sums.py

The same checkpoint in int8, in turns on one thread: with weights whose pairs fit, as bundles are written; with weights
in all of 8 bits and ONNX Runtime's option for whole sums; with these and without that; and with weights of 7 bits,
whose pairs fit whatever they are. Cosines with the fp32 tower, and rates. On a processor with VNNI the second and third
come to the same sums. Needs CLIP's tokenizer and the export extra. See docs/decisions/0014-int8-pairs.md.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from harness.facts import environment
from harness.figures import ratios, summarise
from harness.models import ROOT, MissingInput, random_bundle, random_checkpoint
from harness.report import Line, publish
from harness.turns import options, rate
from numpy.typing import NDArray
from packing import texts

from clipsearch.encoders.packing import every_place
from clipsearch.encoders.processor import multiplies_bytes
from clipsearch.encoders.runtime import CPU, open_session
from clipsearch.ports import Vectors

RESULTS: Final = ROOT / "benchmarks" / "results" / "int8_sums.json"
TEXTS, TOKENS, PICTURES = 32, 10, 8
FIT, WHOLE, CUT_OFF, SEVEN = "pairs fit", "8 bits, whole sums", "8 bits, cut off", "7 bits"
LEVELS: Final = {8: 127, 7: 63}


def of_bits(bits: int, work: Path, bundle: Path, tokenizer: Path) -> Path:
    """Return a directory with both graphs of the checkpoint in all of 8 or 7 bits; made once, then kept."""
    from clipsearch_export.checkpoint import load_checkpoint
    from clipsearch_export.graph import save
    from clipsearch_export.linear import Floats, Int8Linear, round_weight
    from clipsearch_export.towers import image_graph, text_graph

    def quantise(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
        return round_weight(weight, np.abs(weight).max(axis=1) * np.float32(LEVELS[8] / LEVELS[bits]))

    directory = work / f"int8-of-{bits}-{bundle.name}"
    if not directory.exists():
        checkpoint = load_checkpoint(random_checkpoint(work, 0, tokenizer))
        weights, rule = checkpoint.weights(), checkpoint.preprocess_rule()
        directory.mkdir(parents=True)
        eos_id = checkpoint.model.config.text_config.eos_token_id
        text = text_graph(weights, checkpoint.text_config, eos_id, Int8Linear(quantise), packed=True)
        save(text, directory / "text.onnx")
        size = checkpoint.image_size
        image = image_graph(weights, checkpoint.image_config, size, rule, Int8Linear(quantise))
        save(image, directory / "image.onnx")
    return directory


@dataclass(frozen=True, slots=True)
class Graphs:
    """Directories with both towers' graphs: of float32, as bundles are written, and of all of 8 and 7 bits."""

    exact: Path
    fitting: Path
    eight: Path
    seven: Path

    def sessions(self, tower: str) -> dict[str, Any]:
        """Return what takes turns."""
        return {
            FIT: open_session(self.fitting / f"{tower}.onnx", {CPU: {}}, 1),
            WHOLE: open_session(self.eight / f"{tower}.onnx", {CPU: {}}, 1, whole_sums=True),
            CUT_OFF: open_session(self.eight / f"{tower}.onnx", {CPU: {}}, 1),
            SEVEN: open_session(self.seven / f"{tower}.onnx", {CPU: {}}, 1),
        }


def measure(graphs: Graphs, rounds: int, seconds: float) -> list[Line]:
    """Return the lines of both towers."""
    random = np.random.default_rng(0)
    ids = texts([TOKENS] * TEXTS, random)
    pixels = random.integers(0, 256, (PICTURES, 224, 224, 3), dtype=np.uint8)
    lines = []
    for tower, feed in (("text", {"ids": ids, **every_place(*ids.shape)}), ("image", {"pixels": pixels})):
        reference = open_session(graphs.exact / f"{tower}.onnx", {CPU: {}}, 1).run(None, feed)[0]
        sessions = graphs.sessions(tower)
        rates: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(rounds):
            for name, session in sessions.items():
                rates[name].append(len(reference) * rate([partial(session.run, None, feed)], seconds))
        vectors = {name: session.run(None, feed)[0] for name, session in sessions.items()}
        lines += compared(tower, vectors, reference, rates)
        print(tower, file=sys.stderr, flush=True)
    return lines


def compared(
    tower: str, vectors: Mapping[str, Vectors], reference: Vectors, rates: Mapping[str, Sequence[float]]
) -> list[Line]:
    """Return the lines of one tower; ``reference`` float32 [n, dimension] are the vectors of float32."""
    lines = []
    for name, values in vectors.items():
        lost = 1e3 * (1.0 - (values.astype(np.float64) * reference).sum(axis=1))
        lines.append(Line(tower, f"{name}: 1 - cosine with fp32, mean", "/1000", summarise([float(lost.mean())])))
        lines.append(Line(tower, f"{name}: 1 - cosine, largest", "/1000", summarise([float(lost.max())])))
        lines.append(Line(tower, f"{name}: rate", "items/s", summarise(rates[name])))
    for other in (WHOLE, CUT_OFF, SEVEN):
        lines.append(Line(tower, f"{FIT} / {other}: rate", "x", summarise(ratios(rates[FIT], rates[other]))))
    return lines


def main() -> None:
    """Measure, show and write."""
    given = options("Measure int8 towers whose weights fit AVX2 in pairs.", RESULTS, seconds=1.5)
    facts = environment(ROOT)
    try:
        exact, bundle = (random_bundle(given.work, one, 0, given.tokenizer) for one in ("fp32", "int8"))
        eight, seven = (of_bits(bits, given.work, bundle, given.tokenizer) for bits in (8, 7))
    except MissingInput as error:
        sys.exit(f"{error}.")
    lines = measure(Graphs(exact, bundle, eight, seven), given.rounds, given.seconds)
    publish(lines, "sums of int8", facts, {"threads": 1, "vnni": multiplies_bytes()}, given.out)


if __name__ == "__main__":
    main()
