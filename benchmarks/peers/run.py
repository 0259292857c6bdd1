"""Other servers of CLIP beside ours, in one run: ``python benchmarks/peers/run.py``.

It makes an environment for each peer, starts one at a time, compares its embeddings with ours, and loads all alike; in
each round all take their turn. Figures are medians over the rounds. README.md says how each peer is set up and what is
measured. It needs the ``peers`` extra, and for the models the ``export`` extra and CLIP's vocabulary.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # where this is run as a script and not with -m
    sys.path[0] = str(ROOT)

from rich.console import Console  # noqa: E402

from benchmarks.harness.closed_loop import LoadError  # noqa: E402
from benchmarks.harness.facts import environment as facts_of  # noqa: E402
from benchmarks.harness.models import TOKENIZER, MissingInput  # noqa: E402
from benchmarks.peers import ceiling  # noqa: E402
from benchmarks.peers.contenders import PEERS, Peer  # noqa: E402
from benchmarks.peers.figures import SLO_MS, plot, summarise_all, tables  # noqa: E402
from benchmarks.peers.inputs import Inputs, make_inputs  # noqa: E402
from benchmarks.peers.install import NotInstalled, environment  # noqa: E402
from benchmarks.peers.parity import OtherWork  # noqa: E402
from benchmarks.peers.turn import FULL, IN_FLIGHT, QUICK, NotServing, Pace, take_turn  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
FAILURES = (NotInstalled, NotServing, OtherWork, LoadError)


def main(argv: Sequence[str] | None = None) -> None:
    """Install, measure, write."""
    arguments = _arguments(argv)
    # An exception, so that context managers end the servers; the default action would orphan them.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    console = Console(stderr=True, highlight=False, style="dim")
    peers = [peer for peer in PEERS if not arguments.only or peer.name in arguments.only]
    facts = facts_of(ROOT)
    pace = replace(QUICK if arguments.quick else FULL, **({"rounds": arguments.repeats} if arguments.repeats else {}))
    try:
        inputs = make_inputs(arguments.work.resolve(), arguments.precision, arguments.seed, arguments.tokenizer)
    except MissingInput as error:
        sys.exit(f"{error}.")
    pythons, failures = _install(peers, console)
    if arguments.install_only:
        known = {peer.name for peer in peers if peer.unavailable}
        sys.exit("; ".join(f"{name}: {why}" for name, why in failures.items() if name not in known) or None)
    rounds, more = _measure(peers, pythons, inputs, logs=arguments.work / "logs", pace=pace, console=console)
    result = {
        "environment": facts,
        "settings": {
            "precision": arguments.precision, "quick": arguments.quick, "pace": asdict(pace), "in_flight": IN_FLIGHT,
            "slo_ms": SLO_MS,
            "peers": {
                peer.name: {
                    "version": peer.version, "workers": peer.workers, "threads": peer.threads, "model": peer.model,
                }
                for peer in peers
            },
        },
        "seed": arguments.seed,
        "failures": failures | more,
        "summary": summarise_all(rounds),
        "rounds": rounds,
    }  # fmt: skip
    _write(result, arguments, console)


def _install(peers: Sequence[Peer], console: Console) -> tuple[dict[str, Path], dict[str, str]]:
    pythons: dict[str, Path] = {}
    failures: dict[str, str] = {}
    for peer in peers:
        console.print(f"{peer.name}: environment")
        try:
            pythons[peer.name] = environment(peer, ROOT / "build" / "peers")
        except NotInstalled as error:
            failures[peer.name] = f"not installed: {error}"
            console.print(f"{peer.name} cannot be installed: {error}")
    return pythons, failures


def _measure(
    peers: Sequence[Peer], pythons: dict[str, Path], inputs: Inputs, *, logs: Path, pace: Pace, console: Console
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Let all take turns; a peer that fails twice in a turn is out from then on, and its reason is kept."""
    top = ceiling.Ceiling(inputs)
    rounds: dict[str, list[dict[str, Any]]] = {ceiling.NAME: []}
    failures: dict[str, str] = {}
    for number in range(pace.rounds):
        rounds[ceiling.NAME].append(top.take_turn(pace))
        # Each round begins with another, so that none always comes after the same one.
        first = number % len(peers)
        for peer in [*peers[first:], *peers[:first]]:
            if peer.name not in pythons or peer.name in failures:
                continue
            began = time.monotonic()
            log = logs / f"peer-{peer.name.replace(' ', '-')}.log"
            try:
                turn = _twice(
                    partial(take_turn, peer, pythons[peer.name], inputs, log, pace),
                    lambda error, name=peer.name: console.print(f"{name} failed, and tries again: {error}"),
                )
            except FAILURES as error:
                failures[peer.name] = f"round {number + 1}: {error}"
                console.print(f"{peer.name} failed: {error}")
                continue
            rounds.setdefault(peer.name, []).append(turn)
            rates = ", ".join(f"{tower} {one['per_second']:.1f}/s" for tower, one in turn["towers"].items())
            console.print(f"round {number + 1}, {peer.name}: {rates} ({time.monotonic() - began:.0f} s)")
    return rounds, failures


def _twice(turn: Callable[[], dict[str, Any]], failed: Callable[[Exception], None]) -> dict[str, Any]:
    """Let a peer take its turn, and once more where that fails: PyTriton's processes miss each other now and then."""
    try:
        return turn()
    except FAILURES as error:
        failed(error)
        return turn()


def _write(result: dict[str, Any], arguments: argparse.Namespace, console: Console) -> None:
    whole = not arguments.quick and not arguments.only and arguments.precision == "int8"
    # A partial or hurried run must not replace the committed figures by accident.
    out = arguments.out or (RESULTS if whole else arguments.work / "peers.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(result, out.with_suffix(".png"))
    Console().print(tables(result), markup=False, soft_wrap=True)
    console.print(f"written to {out} and {out.with_suffix('.png')}; `make docs` puts them into docs/benchmarks.md")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure other servers of CLIP beside clipsearch.")
    names = [peer.name for peer in PEERS]
    parser.add_argument("--only", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument("--repeats", type=int, help="rounds; five, or one with --quick, unless given")
    parser.add_argument("--quick", action="store_true", help="one short round; for trying, not for figures")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="int8", help="of the ONNX graphs")
    parser.add_argument("--install-only", action="store_true", help="make the environments and stop")
    parser.add_argument("--out", type=Path, help=f"JSON to write (whole run: {RESULTS.relative_to(ROOT)})")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "bench", help="where models are made and kept, and logs"
    )
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="directory with CLIP's tokenizer.json")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
