"""A living catalogue at size: writes, builds, restarts, rebuilds under load, and filters.

``python -m benchmarks.live_catalogue`` takes clustered vectors (clustered_vectors.py says why and how) through the life
of a collection, with the parts that a server on a CPU is made of. Sections, in the order in which they need each other:

* load: durable writes in batches, updated items, and single items beside the bare flushes of the same disk;
* build: the first index, on half of the cores: seconds, bytes an item, memory;
* restart: from a fresh process to the first right answer, with files in the page cache and dropped from it;
* rebuild: latencies of a steady stream of searches before, during and after a rebuild in the same process;
* filtered: recall and latency through filters of falling selectivity, and what the first use of a filter costs.

``--section`` runs some of them, on the collection that an earlier run left under ``--work``. What they find replaces
their part of ``--out`` and leaves the others' as they are, where those were measured with the same settings.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.harness.facts import environment
from benchmarks.harness.report import Line, Outcome, as_json, table
from benchmarks.live_harness.build import build
from benchmarks.live_harness.context import FULL, QUICK, Context, settings
from benchmarks.live_harness.filtered import filtered
from benchmarks.live_harness.load import load
from benchmarks.live_harness.rebuild import WAYS, rebuild
from benchmarks.live_harness.restart import restart

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "live_catalogue.json"

SECTIONS: dict[str, Callable[[Context], Outcome]] = {
    "load": load,
    "build": build,
    "restart": restart,
    "rebuild": rebuild,
    "filtered": filtered,
}


def main() -> None:
    """Run the sections asked for, print a table, write the figures."""
    arguments = _arguments()
    console = Console(stderr=True, highlight=False)
    context = Context(
        work=arguments.work.resolve(),
        n=arguments.n,
        d=arguments.d,
        seed=arguments.seed,
        rebuild=tuple(dict.fromkeys(arguments.rebuild or WAYS)),
        pace=QUICK if arguments.quick else FULL,
        say=lambda message: console.print(message, style="dim"),
    )
    context.work.mkdir(parents=True, exist_ok=True)
    document = _earlier(arguments.out, settings(context))
    lines: list[Line] = []
    for name in [name for name in SECTIONS if not arguments.section or name in arguments.section]:
        context.say(f"section {name}")
        facts = environment(ROOT)
        outcome = SECTIONS[name](context)
        lines += outcome.lines
        document["sections"][name] = {
            "environment": facts,
            "lines": as_json(outcome.lines),
            "samples": outcome.samples,
        }
        # After each: a section that fails must not cost the hours of those before it.
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    screen = Console()
    # Not a terminal: wide enough that no figure is broken over lines.
    title = f"a live catalogue of {context.n:,} x {context.d}"
    screen.print(table(lines, title), width=None if screen.is_terminal else 140)
    console.print(f"written to {arguments.out}")


def _earlier(out: Path, made_with: dict[str, Any]) -> dict[str, Any]:
    """Return what ``out`` holds, where that stands beside new figures; else an empty document."""
    if out.is_file():
        document: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        if document.get("settings") == made_with:
            return document
    return {"benchmark": "live_catalogue", "settings": made_with, "sections": {}}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--section", action="append", choices=list(SECTIONS), help="only this one; may be repeated")
    parser.add_argument("--rebuild", action="append", choices=list(WAYS), help="only this kind; may be repeated")
    parser.add_argument("--quick", action="store_true", help="30,000 x 64: for trying, not for figures")
    parser.add_argument("--out", type=Path, help=f"JSON to write (default: {RESULTS.relative_to(ROOT)})")
    parser.add_argument("--work", type=Path, help="where vectors and the collection are made and kept")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.n, arguments.d = 30_000, 64
    arguments.work = arguments.work or ROOT / "build" / "bench" / f"live-{arguments.n}-{arguments.d}"
    # A hurried run must not replace the committed figures by accident.
    arguments.out = arguments.out or (arguments.work / "live_catalogue.json" if arguments.quick else RESULTS)
    return arguments


if __name__ == "__main__":
    main()
