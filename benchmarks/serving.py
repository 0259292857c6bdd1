"""How much of the hardware's speed the server delivers, and what it costs.

Everything is measured in one run, and what is compared takes turns, so that a busy machine slows both sides alike.
Figures are medians with their spread; ratios are taken round by round. See docs/benchmarks.md.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.context import FULL, QUICK, Context
from harness.facts import environment
from harness.models import ROOT, SAMPLE_BUNDLE, TOKENIZER, MissingInput
from harness.report import Line, Outcome, as_json, table
from harness.sections.idle import idle
from harness.sections.memory import memory
from harness.sections.padding import padding
from harness.sections.search import search
from harness.sections.throughput import image, text
from rich.console import Console

SECTIONS: dict[str, Callable[[Context], Outcome]] = {
    "text": text,
    "image": image,
    "padding": padding,
    "idle": idle,
    "search": search,
    "memory": memory,
}
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sections asked for; exits with 1 and one sentence where something needed is missing."""
    arguments = _arguments(argv)
    # An exception, so that context managers end the servers; the default action would orphan them.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    console = Console(stderr=True, highlight=False)
    sections = [name for name in SECTIONS if not arguments.section or name in arguments.section]
    whole = len(sections) == len(SECTIONS) and not arguments.quick
    # A partial or hurried run must not replace the committed figures by accident.
    out = arguments.out or (RESULTS if whole else arguments.work / "serving.json")
    context = Context(
        work=arguments.work.resolve(),
        tokenizer=arguments.tokenizer.resolve(),
        sample_bundle=arguments.bundle.resolve(),
        precisions=tuple(dict.fromkeys(arguments.precision or ("fp32", "int8"))),
        seed=arguments.seed,
        pace=QUICK if arguments.quick else FULL,
        say=lambda message: console.print(message, style="dim"),
    )
    facts = environment(ROOT)
    if facts["busy"]:
        console.print("the machine is busy with other work, so expect rates that are too low and spreads that are wide")
    lines: list[Line] = []
    samples: dict[str, Any] = {}
    try:
        for name in sections:
            outcome = SECTIONS[name](context)
            lines += outcome.lines
            samples[name] = outcome.samples
    except MissingInput as error:
        sys.exit(f"{error}.")
    settings = {"pace": asdict(context.pace), "precisions": context.precisions, "quick": arguments.quick}
    document = {
        "environment": facts, "settings": settings, "seed": context.seed, "lines": as_json(lines), "samples": samples,
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    screen = Console()
    # Not a terminal: wide enough that no figure is broken over lines.
    screen.print(table(lines, "clipsearch serving"), width=None if screen.is_terminal else 140)
    console.print(f"written to {out}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure the server against what its hardware and its transport can do."
    )
    parser.add_argument("--section", action="append", choices=list(SECTIONS), help="only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; for trying, not for figures")
    parser.add_argument("--precision", action="append", choices=("fp32", "int8"), help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, help=f"JSON to write (whole run: {RESULTS.relative_to(ROOT)})")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "bench", help="where models and indexes are made and kept"
    )
    parser.add_argument("--bundle", type=Path, default=SAMPLE_BUNDLE, help="the sample model's bundle")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory with CLIP's tokenizer.json")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
