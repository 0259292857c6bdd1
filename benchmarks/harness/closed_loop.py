"""Calls as fast as a server answers them: so many in flight on so many connections, each answer looked at.

They are sent by one process (``sender``), over HTTP/2 as clients of gRPC do, many at once on each connection and no two
alike if there are as many, or over HTTP/1.1, one at a time on each. Generators like h2load know one body only, and
would take a process and a connection for each.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal
from urllib.parse import urlsplit

from .models import ROOT
from .process import cpu_s
from .sender import COUNTING, Count, Plan
from .wire import HEADERS

Protocol = Literal["grpc", "http1"]
CONNECTIONS = 4
"""Of gRPC, where nothing is said: so many backends that call at once, each on one connection."""

MOST_CORES = 0.9
"""A sender that uses more of its core may be what limits the rate."""


class LoadError(Exception):
    """The load could not be sent, or what came back were not the right answers."""


@dataclass(frozen=True, slots=True)
class Load:
    """``streams`` calls in flight on each of so many connections, one over HTTP/1.1.

    ``warm_up_s`` seconds come before the ``seconds`` that are counted, so that both ends of these see a busy server.
    """

    connections: int
    streams: int
    seconds: float
    warm_up_s: float

    @property
    def in_flight(self) -> int:
        """Calls at once."""
        return self.connections * self.streams


def spread(in_flight: int, seconds: float, warm_up_s: float, protocol: Protocol = "grpc") -> Load:
    """Return so many calls in flight as clients make them: of gRPC on few connections, of HTTP/1.1 on one each.

    Of gRPC they are divided evenly; raises ValueError where that cannot be.
    """
    connections = min(CONNECTIONS, in_flight) if protocol == "grpc" else in_flight
    if in_flight < 1 or in_flight % connections:
        raise ValueError(f"{in_flight} calls cannot be spread evenly over {CONNECTIONS} connections")
    return Load(connections, in_flight // connections, seconds, warm_up_s)


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers per second, the share of each body in them, and the CPU used meanwhile, in cores (1.0: one core busy)."""

    rate: float
    shares: list[float]
    server_cores: float
    generator_cores: float

    @property
    def server_us(self) -> float:
        """CPU time of the server per request, in microseconds."""
        return 1e6 * self.server_cores / self.rate


def drive(
    url: str,
    bodies: Sequence[bytes],
    load: Load,
    server_pid: int,
    headers: Mapping[str, str] | None = None,
    *,
    protocol: Protocol = "grpc",
) -> Measured:
    """Load ``url`` with POSTs of these bodies in turn; raises LoadError unless all answers were right.

    ``headers`` are sent beside those that every call has. ``server_pid`` is the process that started all others of the
    server.
    """
    where = urlsplit(url)
    assert where.hostname and where.port, "the harness makes all addresses"
    plan = Plan(
        host=where.hostname, port=where.port, tls=where.scheme == "https", path=where.path,
        headers={**(HEADERS if protocol == "grpc" else {}), **(headers or {})}, http2=protocol == "grpc",
        bodies=[body.hex() for body in bodies], connections=load.connections, streams=load.streams,
        seconds=load.seconds, warm_up_s=load.warm_up_s,
    )  # fmt: skip
    with _sending(plan) as sender:
        _read(sender, url)
        server, generator = _cores(server_pid, sender.pid, load.seconds)
        count = Count(**json.loads(_read(sender, url)))
    total = sum(count.answered)
    if total == 0:
        raise LoadError(f"{url} gave no answer in {load.seconds:g} s")
    if generator > MOST_CORES:
        raise LoadError(f"{url}: sending took {generator:.2f} cores, so it may be what limits the rate")
    return Measured(total / count.seconds, [one / total for one in count.answered], server, generator)


@contextmanager
def _sending(plan: Plan) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "benchmarks.harness.sender"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None
            json.dump(asdict(plan), process.stdin)
            process.stdin.close()
            yield process
        finally:
            process.kill()


def _read(sender: "subprocess.Popen[str]", url: str) -> str:
    """Return the sender's next line; raises LoadError with what it says where it gave up."""
    assert sender.stdout is not None
    line = sender.stdout.readline()
    if not line.startswith(("{", COUNTING)):
        raise LoadError(f"{url}: {line.strip() or 'the sender ended without a word'}")
    return line


def _cores(server_pid: int, sender_pid: int, seconds: float) -> tuple[float, float]:
    """Cores used by the server and by the sender, in the middle of the time that is counted."""
    time.sleep(0.05 * seconds)
    started, server, sender = time.monotonic(), cpu_s(server_pid), cpu_s(sender_pid)
    time.sleep(0.85 * seconds)
    elapsed = time.monotonic() - started
    return (cpu_s(server_pid) - server) / elapsed, (cpu_s(sender_pid) - sender) / elapsed
