"""Kills a writing process again and again, and checks that what it acknowledged, and nothing half, is there.

``python -m tests.faults.kill_writer --rounds 200`` does so; every round goes on with the catalogue that the last one
left. A child applies random groups of mutations and says when each is acknowledged. It is killed from outside after a
random acknowledgement, or kills itself just before or after a random statement (``STEPS``), or dies of a timer at a
random moment, which may be in the middle of a write or of a checkpoint.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsearch.catalogue.mutations import Applied
from clipsearch.catalogue.verify import verify_catalogue
from clipsearch.catalogue.writer import CatalogueWriter

from .catalogue_model import DIMENSION, State, random_groups, read_state, word

ROOT = Path(__file__).parents[2]

GROUPS = 60
"""Groups in a round; few rounds live to see the last."""

STEPS = ("BEGIN", "SELECT", "UPDATE", "INSERT", "COMMIT")

_LONGEST_S = 0.15


class DyingConnection:
    """A connection that kills its process before or after the n-th statement of a kind."""

    def __init__(self, connection: Any, step: str, left: int, before: bool) -> None:
        self._connection, self._step, self._left, self._before = connection, step, left, before

    def execute(self, statement: str, *parameters: Any) -> Any:
        return self._run(self._connection.execute, statement, *parameters)

    def executemany(self, statement: str, rows: Iterable[Any]) -> Any:
        return self._run(self._connection.executemany, statement, rows)

    def _run(self, run: Any, statement: str, *parameters: Any) -> Any:
        due = statement.split(maxsplit=1)[0] == self._step
        self._left -= due
        if due and self._left == 0 and self._before:
            self._die("before")
        result = run(statement, *parameters)
        if due and self._left == 0:
            self._die("after")
        return result

    def _die(self, when: str) -> None:
        print("died", when, self._step, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def write(collection: Path, seed: int, turn: int, way: str) -> None:
    """Be the child: apply the groups of this turn, and print the number of each that is acknowledged."""
    chance = random.Random(f"{seed}/{turn}/child")
    with CatalogueWriter(collection, DIMENSION, None) as writer:
        if chance.random() < 0.5:
            # Folds the log into the file every few groups, so that deaths in the middle of that are met too.
            writer._connection.execute("PRAGMA wal_autocheckpoint = 20")
        if way == "statement":
            step, left, before = chance.choice(STEPS), chance.randrange(1, GROUPS), chance.random() < 0.5
            writer._connection = DyingConnection(writer._connection, step, left, before)  # type: ignore[assignment]
        if way == "timer":
            # The default action of the signal ends the process at once, wherever it is.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-4, _LONGEST_S))
        for number, group in enumerate(random_groups(seed, turn, GROUPS)):
            writer.apply(group)
            print(number, flush=True)


@dataclass(frozen=True, slots=True)
class Death:
    """How a child ended, and how many groups it had acknowledged."""

    how: str
    acknowledged: int


def run_child(collection: Path, seed: int, turn: int) -> Death:
    """Let a child write and die; the way is drawn from the seed."""
    chance = random.Random(f"{seed}/{turn}/parent")
    way = chance.choice(["statement", "statement", "outside", "timer"])
    last = chance.randrange(GROUPS) if way == "outside" else None
    command = [sys.executable, "-m", "tests.faults.kill_writer", "--child", str(collection), str(seed), str(turn), way]
    acknowledged, how = 0, way
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("died"):
                how = line.strip()
                continue
            acknowledged = int(line) + 1
            if int(line) == last:
                child.kill()
        code = child.wait()
    if code == 0:
        return Death("not at all", acknowledged)
    assert code in (-signal.SIGKILL, -signal.SIGALRM), f"the child failed with status {code}"
    return Death(how, acknowledged)


def check(collection: Path, state: State, death: Death, seed: int, turn: int) -> State:
    """Open what the child left; returns the state that it is in. Raises AssertionError where it is in none.

    Right is the state after all groups that were acknowledged, or after one more: that one had been asked for.
    """
    groups = list(random_groups(seed, turn, GROUPS))
    for group in groups[: death.acknowledged]:
        state = state.after(group)
    with CatalogueWriter(collection, DIMENSION, None) as writer:  # the lock died with its holder
        found = read_state(collection)
        if found != state and death.acknowledged < GROUPS:
            state = state.after(groups[death.acknowledged])
        assert found == state, f"seed {seed}, turn {turn}, {death}: seq {found.seq} instead of {state.seq}"
        verified = verify_catalogue(collection)
        assert verified.ok, verified
        for mutation in [some for group in groups[: death.acknowledged] for some in group][-3:]:
            if mutation.request_id is not None:
                (again,) = writer.apply([mutation])
                assert isinstance(again, Applied) and again.repeated
                assert (again.seq, tuple(map(word, again.outcomes))) == state.requests[mutation.request_id]
    assert read_state(collection) == state, "a retry or a clean close has changed something"
    return state


def run_rounds(collection: Path, seed: int, rounds: int) -> Counter[str]:
    """Kill a writer ``rounds`` times on one catalogue; returns how often it died in which way."""
    state, deaths = State(), Counter[str]()
    for turn in range(rounds):
        death = run_child(collection, seed, turn)
        if (collection / "catalogue.sqlite").exists():
            state = check(collection, state, death, seed, turn)
        deaths[death.how] += 1
    return deaths


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        collection, seed, turn, way = arguments.child
        write(Path(collection), int(seed), int(turn), way)
        return
    with tempfile.TemporaryDirectory() as name:
        deaths = run_rounds(Path(name), arguments.seed, arguments.rounds)
        found = verify_catalogue(Path(name))
    for how, count in deaths.most_common():
        print(f"{count:5} {how}")
    print(f"{arguments.rounds} rounds: every acknowledged mutation is there, none half.")
    print(f"{found.live} live rows, {found.tombstones} tombstones")


if __name__ == "__main__":
    main()
