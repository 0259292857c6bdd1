"""How near the towers come to what the machine can do: operations and bytes a second against measured peaks.

    python benchmarks/roofline.py

The peaks are those of large matrix products by ONNX Runtime itself, float32 and int8, and of copying memory, on one
core and on all. The towers run in both layouts of threads: one run on all cores, and a run on each core side by side.
All of it takes turns. See docs/benchmarks.md.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from harness.facts import environment
from harness.figures import summarise
from harness.models import ROOT, TOKENIZER, MissingInput, random_bundle
from harness.report import Line, as_json, table
from harness.turns import rate
from rich.console import Console

from clipsearch.encoders.manifest import load_bundle
from clipsearch.encoders.runtime import CPU, CpuGraph, open_session

RESULTS: Final = ROOT / "benchmarks" / "results" / "roofline.json"
ROWS, IN, OUT = 1024, 768, 3072
"""Of the products whose rate is the peak: those of ViT-B's widest layer over a thousand tokens."""

COPIED_BYTES: Final = 256 << 20
TEXT_BATCH, TEXT_TOKENS, IMAGE_BATCH = 32, 12, 8


@dataclass(frozen=True, slots=True)
class Tower:
    """The geometry of a tower: tokens of an item, width, layers, and operations before the first layer."""

    tokens: int
    width: int
    layers: int
    before: float = 0.0

    @property
    def operations(self) -> float:
        """For one item: projections and MLP (24 w² a token), attention (4 l w a token), as our graphs compute them.

        In the last layer only the pooled token goes beyond attention, which saves 18 w² for each other one.
        """
        token = 24.0 * self.width**2 + 4.0 * self.tokens * self.width
        return self.layers * self.tokens * token - 18.0 * self.width**2 * (self.tokens - 1) + self.before


TOWERS: Final = {
    "text": Tower(TEXT_TOKENS, 512, 12),
    "image": Tower(50, 768, 12, before=49 * 2.0 * 3 * 32 * 32 * 768),
}


def product(path: Path, precision: str) -> Path:
    """Write a graph of one large product with a constant, in float32 or in uint8 times int8."""
    rng = np.random.default_rng(0)
    if precision == "fp32":
        weight = rng.standard_normal((IN, OUT), dtype=np.float32)
        nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
        kind, result = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT
    else:
        weight = rng.integers(-127, 128, (IN, OUT)).astype(np.int8)
        nodes = [onnx.helper.make_node("MatMulInteger", ["x", "w", "z"], ["y"])]
        kind, result = onnx.TensorProto.UINT8, onnx.TensorProto.INT32
    constants = [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(np.uint8(128), "z")]
    graph = onnx.helper.make_graph(
        nodes,
        "product",
        [onnx.helper.make_tensor_value_info("x", kind, [ROWS, IN])],
        [onnx.helper.make_tensor_value_info("y", result, [ROWS, OUT])],
        constants if precision == "int8" else constants[:1],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10), str(path))
    return path


def products(directory: Path, precision: str, cores: int) -> dict[str, Callable[[], object]]:
    """Return runs of a product on one core and on all."""
    path = product(directory / f"product-{precision}.onnx", precision)
    x = np.random.default_rng(1).random((ROWS, IN), dtype=np.float32)
    values = x if precision == "fp32" else (255 * x).astype(np.uint8)

    def run_on(threads: int) -> Callable[[], object]:
        session = open_session(path, {CPU: {}}, threads, spin=True)
        return lambda: session.run(None, {"x": values})

    return {"one core": run_on(1), "all cores": run_on(cores)}


def copies(cores: int) -> dict[str, list[Callable[[], object]]]:
    """Return copies of memory on one core and on all."""
    pairs = [
        (np.ones(COPIED_BYTES // cores, np.uint8), np.zeros(COPIED_BYTES // cores, np.uint8)) for _ in range(cores)
    ]
    runs: list[Callable[[], object]] = [lambda a=a, b=b: np.copyto(b, a) for a, b in pairs]  # type: ignore[misc]
    return {"one core": runs[:1], "all cores": runs}


def layouts(graph: Path, shape: tuple[int, ...], cores: int) -> dict[str, list[Callable[[], object]]]:
    """Return runs of a tower: one on all cores, and one on each core."""

    def fill(values: Any) -> None:
        values[:] = 7

    def runs(count: int, threads: int, *, spin: bool) -> list[Callable[[], object]]:
        sessions = [CpuGraph(graph, threads, spin=spin) for _ in range(count)]
        return [lambda session=session: session.run(shape, fill) for session in sessions]  # type: ignore[misc]

    return {
        f"1 run x {cores} threads": runs(1, cores, spin=True),
        f"{cores} runs x 1 thread": runs(cores, 1, spin=False),
    }


def measure(bundles: dict[str, Path], cores: int, rounds: int, seconds: float) -> list[Line]:
    """Measure peaks and towers in turns; returns the lines of the result."""
    jobs: dict[tuple[str, str], tuple[Sequence[Callable[[], object]], float, str]] = {}
    with tempfile.TemporaryDirectory() as name:
        for precision in bundles:
            for where, run in products(Path(name), precision, cores).items():
                jobs[f"peak {precision}", where] = [run], 2.0 * ROWS * IN * OUT / 1e9, "GFLOP/s"
        for where, runs in copies(cores).items():
            jobs["memory, copied", where] = runs, 2.0 * COPIED_BYTES / cores / 1e9, "GB/s"
        for precision, path in bundles.items():
            bundle = load_bundle(path)
            for tower, batch, shape in (
                ("text", TEXT_BATCH, (TEXT_BATCH, TEXT_TOKENS)),
                ("image", IMAGE_BATCH, (IMAGE_BATCH, 224, 224, 3)),
            ):
                graph = bundle.text_graph if tower == "text" else bundle.image_graph
                for layout, runs in layouts(graph, shape, cores).items():
                    jobs[f"{tower} {precision}", layout] = runs, batch * TOWERS[tower].operations / 1e9, "GFLOP/s"
        samples: dict[tuple[str, str], list[float]] = {key: [] for key in jobs}
        for number in range(rounds):
            for key, (runs, each, _) in jobs.items():
                samples[key].append(each * rate(runs, seconds))
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    lines = []
    for (what, how), found in samples.items():
        lines.append(Line(what, how, jobs[what, how][2], summarise(found)))
        tower, _, precision = what.partition(" ")
        if tower in TOWERS:
            peaks = samples[f"peak {precision}", "all cores"]
            share = [mine / peak for mine, peak in zip(found, peaks, strict=True)]
            lines.append(Line(what, f"{how}, of the peak on all cores", "x", summarise(share)))
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the result; a hurried run is only shown."""
    parser = argparse.ArgumentParser(description="Measure the towers against the machine's peaks.")
    parser.add_argument("--quick", action="store_true", help="one short round; for trying, not for figures")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory of CLIP's tokenizer")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="where models are kept")
    arguments = parser.parse_args(argv)
    facts = environment(ROOT)
    work = arguments.work.resolve()
    try:
        bundles = {one: random_bundle(work, one, 0, arguments.tokenizer.resolve()) for one in ("fp32", "int8")}
    except MissingInput as error:
        sys.exit(f"{error}.")
    cores = int(str(facts["cores"]))
    lines = measure(bundles, cores, *((1, 0.3) if arguments.quick else (5, 1.5)))
    screen = Console()
    screen.print(table(lines, "roofline"), width=None if screen.is_terminal else 140)
    if not arguments.quick:
        settings = {
            "text": f"{TEXT_BATCH} of {TEXT_TOKENS} tokens",
            "image": f"{IMAGE_BATCH} pictures",
            "operations": {tower: one.operations for tower, one in TOWERS.items()},
        }
        document = {"environment": facts, "settings": settings, "lines": as_json(lines)}
        RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(f"written to {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
