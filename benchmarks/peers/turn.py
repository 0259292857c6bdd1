"""One peer's turn in a round: started, compared with our embeddings, loaded to saturation and below it, stopped."""

import http.client
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc

from benchmarks.harness.closed_loop import drive, spread
from benchmarks.harness.figures import percentile
from benchmarks.harness.open_loop import OK, Calls, Plan, run
from benchmarks.harness.process import free_port
from benchmarks.peers.contenders import Call, Peer, Tower
from benchmarks.peers.figures import FRACTIONS
from benchmarks.peers.inputs import Inputs
from benchmarks.peers.parity import check
from benchmarks.peers.process_tree import Bystanders, PeakMemory, calm_down, running
from benchmarks.peers.towers import Task

START_LIMIT_S = 120.0
IN_FLIGHT: Mapping[Tower, int] = {"text": 64, "image": 32}
_GENERATOR_STARTS_S = 1.2
_BETWEEN_S = 0.2
_DEADLINE_S = 10.0


class NotServing(Exception):
    """A peer ended, or did not answer a first request rightly in two minutes; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long everything is measured, in seconds; of an open loop's, ``lead_s`` come before what is counted."""

    rounds: int
    saturated_s: Mapping[Tower, float]
    warm_up_s: float
    open_s: Mapping[Tower, float]
    lead_s: float


FULL = Pace(5, {"text": 2.5, "image": 8.0}, 1.0, {"text": 4.0, "image": 6.0}, 0.4)
QUICK = Pace(1, {"text": 1.5, "image": 2.0}, 1.0, {"text": 1.0, "image": 2.0}, 0.4)


@dataclass(slots=True)
class TowerTurn:
    """What a peer did with one tower: a rate at saturation with its cost, and the open loops below it."""

    per_second: float
    shares: list[float]
    server_cores: float
    generator_cores: float
    smallest_cosine: float
    other_cores: float
    loads: list[dict[str, Any]] = field(default_factory=list)

    @property
    def cpu_s_per_1000(self) -> float:
        """CPU seconds of all the peer's processes for 1,000 requests, at saturation."""
        return 1000.0 * self.server_cores / self.per_second


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that answers."""

    peer: Peer
    task: Task
    pid: int

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.task.port}"

    def ask(self, call: Call) -> bytes:
        """Send one request and return the answer's body; raises NotServing for an error, OSError for no connection."""
        if self.peer.protocol == "grpc":
            with grpc.insecure_channel(self.address) as channel:
                try:
                    # The frame's five bytes are the transport's own here.
                    return bytes(channel.unary_unary(call.path)(call.body[5:], timeout=60.0))
                except grpc.RpcError as error:
                    raise ConnectionError(str(error)) from error
        connection = http.client.HTTPConnection(self.address, timeout=60.0)
        try:
            connection.request("POST", call.path, call.body, dict(call.headers))
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise NotServing(f"HTTP {answer.status}: {body[:300]!r}")
        return body


def take_turn(peer: Peer, python: Path, inputs: Inputs, log: Path, pace: Pace) -> dict[str, Any]:
    """Run a peer once; returns what each tower did and the memory used.

    Raises NotServing, OtherWork where its embeddings are not ours, and LoadError where it answers wrongly under load.
    """
    began = time.monotonic()
    with started(peer, python, inputs, log) as server, PeakMemory(server.pid) as memory:
        start_s = time.monotonic() - began
        towers = {tower: _tower(server, tower, inputs, pace) for tower in peer.towers}
    figures = {tower: {**asdict(turn), "cpu_s_per_1000": turn.cpu_s_per_1000} for tower, turn in towers.items()}
    return {"start_s": start_s, "peak_bytes": memory.bytes, "towers": figures}


@contextmanager
def started(peer: Peer, python: Path, inputs: Inputs, log: Path) -> Iterator[Running]:
    """Start a peer and wait until both towers answer; raises NotServing."""
    task = peer.task(inputs.task_model(peer), free_port())
    with running(peer.command(python, task), log, peer.variables(task)) as process:
        server = Running(peer, task, process.pid)
        last = "no answer"
        deadline = time.monotonic() + START_LIMIT_S
        for tower in peer.towers:
            call = peer.call(tower, inputs.items[tower][0], task)
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NotServing(f"{last}; its log ends with: {_tail(log)}")
                try:
                    server.ask(call)
                    break
                except (OSError, NotServing, http.client.HTTPException) as error:
                    last = f"{type(error).__name__}: {error}"
                    time.sleep(0.2)
        yield server


def _tower(server: Running, tower: Tower, inputs: Inputs, pace: Pace) -> TowerTurn:
    peer = server.peer
    calls = [peer.call(tower, item, server.task) for item in inputs.items[tower]]
    vectors = [peer.vector(tower, server.ask(call)) for call in calls]
    cosine = check(peer.name, vectors, inputs.expected[peer.model, tower])
    load = spread(IN_FLIGHT[tower], pace.saturated_s[tower], pace.warm_up_s, peer.protocol)
    url, bodies = f"http://{server.address}{calls[0].path}", [call.body for call in calls]
    with Bystanders(server.pid) as others:
        measured = drive(url, bodies, load, server.pid, calls[0].headers, protocol=peer.protocol)
    turn = TowerTurn(
        measured.rate, measured.shares, measured.server_cores, measured.generator_cores, cosine, others.cores
    )
    calm_down(server.pid)
    with tempfile.TemporaryDirectory() as scratch:
        turn.loads = _open_loops(server, tower, calls, scratch=Path(scratch), capacity=measured.rate, pace=pace)
    return turn


def _open_loops(
    server: Running, tower: Tower, calls: Sequence[Call], *, scratch: Path, capacity: float, pace: Pace
) -> list[dict[str, Any]]:
    grpc_calls = server.peer.protocol == "grpc"
    bodies = scratch / "bodies.json"
    bodies.write_text(json.dumps([(call.body[5:] if grpc_calls else call.body).hex() for call in calls]))
    each_s = pace.lead_s + pace.open_s[tower]
    begins = time.monotonic() + _GENERATOR_STARTS_S
    plans = [
        Plan(
            address=server.address, method=calls[0].path, bodies=str(bodies), callers=["peers"],
            rate=fraction * capacity, begins=begins + number * (each_s + _BETWEEN_S), seconds=each_s,
            deadline_s=_DEADLINE_S, seed=number, http=not grpc_calls, headers=dict(calls[0].headers),
        )
        for number, fraction in enumerate(FRACTIONS)
    ]  # fmt: skip
    return [
        {"fraction": fraction, **summary(calls, pace.lead_s, pace.open_s[tower])}
        for fraction, calls in zip(FRACTIONS, run(plans), strict=True)
    ]


def summary(calls: Calls, lead_s: float, counted_s: float) -> dict[str, Any]:
    """Return rate, latencies and errors of the calls that were to start after the lead.

    A call that failed counts as an error, under its reason, and never as a latency.
    """
    counted = [call for call in calls.calls if call[0] >= lead_s]
    took = [1e3 * call[2] for call in counted if call[3] == OK]
    errors: dict[str, int] = {}
    for call in counted:
        if call[3] != OK:
            errors[call[3]] = errors.get(call[3], 0) + 1
    lags = [1e3 * call[1] for call in counted]
    return {
        "sent": len(counted),
        "per_second": len(counted) / counted_s,
        "errors": errors,
        "p50_ms": percentile(took, 0.5) if took else None,
        "p99_ms": percentile(took, 0.99) if took else None,
        "lag_p99_ms": percentile(lags, 0.99) if lags else None,
        "generator_cpu_s": calls.cpu_s,
    }


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " / ".join(lines[-4:])[-600:]
