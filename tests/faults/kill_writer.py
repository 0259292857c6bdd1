"""Kills a writing process again and again, and checks that what it acknowledged, and nothing half, is there.

``python -m tests.faults.kill_writer --rounds 400 --out benchmarks/results/faults_kill_writer.json`` does so. In every
second round the child (``dying_writer``) kills itself at one of its named steps, all of them in turn; in the others it
is killed from outside, upon an acknowledgement or at a random moment, which may be inside a write, a checkpoint or a
rebuild. A round goes on with what the last one left, but those that die while the catalogue is made begin anew. No
round is survived: ``rounds`` are as many kills.
"""

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.harness.facts import environment
from clipsearch.catalogue.mutations import Mutation, Upsert

from .catalogue_model import State, random_groups
from .dying_writer import CLOSING, CREATING, GROUPS, WRITING, Fate, all_fates
from .living_catalogue import Checks, check_catalogue

ROOT = Path(__file__).parents[2]

_LIMIT_S = 120.0
"""A child that lives as long hangs, or the code has no such step any more."""

_LONGEST_S = 0.4
"""The latest random moment after the child began, in seconds."""

_MOST = {"flush": 20, "rename": 3, "remove": 2, "swap": 3} | dict.fromkeys(WRITING, 25) | dict.fromkeys(CLOSING, 20)
"""How often a step may happen before it is the last one; a catalogue is made once."""

_ACKNOWLEDGEMENT = "outside, upon an acknowledgement"
_MOMENT = "outside, at a random moment"


@dataclass(slots=True)
class Report:
    """What was done: kills by where they struck, what had been acknowledged by then, and what was checked."""

    seed: int
    rounds: int = 0
    catalogues: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    acknowledged_groups: int = 0
    acknowledged_mutations: int = 0
    acknowledged_items: int = 0
    stored_unacknowledged: int = 0
    """Rounds in which the group under way was stored, as a whole, though nobody was told."""
    checks: Checks = field(default_factory=Checks)


def named_fates(seed: int) -> "itertools.cycle[tuple[str, str]]":
    """Yield all named steps over and over, in an order drawn once."""
    fates = all_fates()
    random.Random(seed).shuffle(fates)
    return itertools.cycle(fates)


def run_child(root: Path, seed: int, turn: int, fate: Fate) -> int:
    """Let a child write until it dies; returns how many groups it had acknowledged."""
    chance = random.Random(f"{seed}/{turn}/outside")
    last = chance.randrange(40) if fate.step == _ACKNOWLEDGEMENT else None
    moment = chance.uniform(0.0, _LONGEST_S) if fate.step == _MOMENT else _LIMIT_S
    when = "outside" if fate.when == "" else fate.when
    numbers = [str(root), str(seed), str(turn), when, fate.step, str(fate.nth)]
    command = [sys.executable, "-m", "tests.faults.dying_writer", *numbers]
    acknowledged, died = 0, False
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        killer = threading.Timer(moment, child.kill)
        assert child.stdout is not None
        for line in child.stdout:
            if line == "begins\n":
                killer.start()
            elif line == "died\n":
                died = True
            else:
                acknowledged = int(line) + 1
                if int(line) == last:
                    child.kill()
        code = child.wait()
        killer.cancel()
    assert code == -signal.SIGKILL, f"seed {seed}, turn {turn}: the child ended by itself, with status {code}"
    assert died == (fate.when != ""), f"seed {seed}, turn {turn}: the child was to die {fate}, and never got there"
    return acknowledged


def fate_of(seed: int, turn: int, named: "itertools.cycle[tuple[str, str]]") -> Fate:
    """Return how a round is to end."""
    chance = random.Random(f"{seed}/{turn}/fate")
    if turn % 2:
        return Fate("", chance.choice([_ACKNOWLEDGEMENT, _MOMENT]), 1)
    when, step = next(named)
    return Fate(when, step, chance.randint(1, _MOST.get(step, 1)))


def run_rounds(directory: Path, seed: int, rounds: int) -> Report:
    """Kill a writer ``rounds`` times; raises AssertionError at the first thing that is not as it should be."""
    report, named = Report(seed), named_fates(seed)
    root, state = directory / "0", State()
    for turn in range(rounds):
        fate = fate_of(seed, turn, named)
        if fate.step in CREATING or turn == 0:
            root, state = directory / str(turn), State()
            report.catalogues += 1
        acknowledged = run_child(root, seed, turn, fate)
        groups = list(itertools.islice(random_groups(seed, turn, GROUPS), acknowledged + 1))
        place = f"seed {seed}, turn {turn}, {fate}, after {acknowledged} groups"
        state, stored = check_catalogue(root, state, groups, place, report.checks, seed=seed, turn=turn)
        report.rounds += 1
        name = str(fate).strip()
        report.kills[name] = report.kills.get(name, 0) + 1
        report.acknowledged_groups += acknowledged
        report.acknowledged_mutations += sum(map(len, groups[:-1]))
        report.acknowledged_items += sum(items_of(some) for group in groups[:-1] for some in group)
        report.stored_unacknowledged += stored
    return report


def items_of(mutation: Mutation) -> int:
    """Return how many items are written or deleted."""
    return len(mutation.items if isinstance(mutation, Upsert) else mutation.ids)


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    arguments = parser.parse_args()
    facts = environment(ROOT)
    with tempfile.TemporaryDirectory() as name:
        report = run_rounds(Path(name), arguments.seed, arguments.rounds)
    for fate, count in sorted(report.kills.items(), key=lambda one: -one[1]):
        print(f"{count:5} {fate}")
    print(f"{report.rounds} kills: every acknowledged mutation is there and found, none half.")
    if arguments.out is not None:
        result = {"fault": "kill_writer", "environment": facts, **asdict(report)}
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
