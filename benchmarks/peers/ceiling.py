"""The ceiling: a bare ONNX Runtime session on ready inputs, without a server, at the batch size that suits it best."""

import time
from collections import Counter
from typing import Any

from benchmarks.harness.figures import harmonic_rate
from benchmarks.harness.process import cpu_s
from benchmarks.harness.raw import Batch, Choice, RawSession, best_choice
from benchmarks.harness.workload import one_length_each, repeated
from benchmarks.peers.contenders import TOWERS, Tower
from benchmarks.peers.inputs import Inputs
from benchmarks.peers.process_tree import Bystanders, PeakMemory
from benchmarks.peers.turn import Pace

NAME = "ONNX Runtime, no server"
SIZES = {"text": (8, 16, 32, 64), "image": (4, 8, 16, 32)}


class Ceiling:
    """Takes turns like a peer; the batch size of each tower is chosen in its first one."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._choices: dict[Tower, Choice] = {}

    def take_turn(self, pace: Pace) -> dict[str, Any]:
        """Run both towers; returns what ``turn.take_turn`` does, without loads below saturation."""
        with RawSession() as session, PeakMemory(session.pid) as memory:
            towers = {tower: self._tower(session, tower, pace) for tower in TOWERS}
        return {"start_s": 0.0, "peak_bytes": memory.bytes, "towers": towers}

    def _tower(self, session: RawSession, tower: Tower, pace: Pace) -> dict[str, Any]:
        graph = self._inputs.models["bundle"] / f"{tower}.onnx"
        if tower not in self._choices:
            self._choices[tower], _ = best_choice(
                session, graph, make_batches=lambda size: self._batches(tower, size), sizes=SIZES[tower],
                seconds=0.5, passes=1,
            )  # fmt: skip
        choice = self._choices[tower]
        session.open(graph, choice.spinning)
        before, began = cpu_s(session.pid), time.monotonic()
        with Bystanders(session.pid) as others:
            costs = session.run(self._batches(tower, choice.batch), pace.saturated_s[tower])
        cores = (cpu_s(session.pid) - before) / (time.monotonic() - began)
        rate = harmonic_rate(costs, self._shares(tower))
        return {
            "per_second": rate, "batch": choice.batch, "spinning": choice.spinning, "server_cores": cores,
            "cpu_s_per_1000": 1000.0 * cores / rate, "smallest_cosine": 1.0, "other_cores": others.cores,
            "loads": [],
        }  # fmt: skip

    def _batches(self, tower: Tower, size: int) -> list[Batch]:
        if tower == "image":
            return [repeated(self._inputs.pixels, size)]
        # One length per batch: nothing is paid for padding.
        return one_length_each(self._inputs.ids, size)

    def _shares(self, tower: Tower) -> list[float]:
        """How many of the inputs each batch stands for."""
        if tower == "image":
            return [1.0]
        counts = Counter(map(len, self._inputs.ids))
        return [float(counts[length]) for length in sorted(counts)]
