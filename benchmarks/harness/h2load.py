"""Load from h2load, the HTTP load generator in C of nghttp2: cheap enough to share two cores with a server.

One h2load sends one body over and over, so a mix of requests is a fleet of them, one process per body. h2load counts
HTTP statuses and not ``grpc-status``, which is why every fleet is told the size of a right answer: an error carries no
data and long headers, so bytes per response tell. Servers that speak HTTP/1.1 alone are loaded by the same program.
"""

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .models import MissingInput
from .process import cpu_s
from .wire import HEADERS

# What one right answer may differ from another by: timings are variable-length integers.
_SLACK_BYTES = 16.0
# A right answer's headers are all in HPACK's table after a connection's first answer; a wrong one's hold a message.
_HEADER_BYTES = 24.0
_FIRST_HEADERS_BYTES = 160.0

_START_S = 0.03
"""How long one generator may take to start, beside a server that uses all cores."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How h2load speaks: its options, the headers of every call, and whether errors hide in trailers."""

    options: tuple[str, ...]
    headers: tuple[str, ...]
    hidden_errors: bool


GRPC = Protocol((), HEADERS, hidden_errors=True)
HTTP1 = Protocol(("--h1",), (), hidden_errors=False)
"""One call at a time on each connection, and a status that says what became of it."""


class LoadError(Exception):
    """h2load failed, or what came back were not the right answers."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one h2load printed. Bytes are those of all responses, headers compressed."""

    requests: int
    succeeded: int
    failed: int
    ok_2xx: int
    header_bytes: int
    data_bytes: int
    other_statuses: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """How a fleet calls: each process opens ``clients`` connections with ``streams`` requests in flight on each.

    ``warm_up_s`` seconds come before the ``seconds`` that are counted, so that both ends of these see a busy server.
    """

    clients: int
    streams: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers per second of a fleet, of each body, and the CPU used meanwhile, in cores (1.0: one core busy)."""

    rate: float
    shares: list[float]
    server_cores: float
    generator_cores: float

    @property
    def server_us(self) -> float:
        """CPU time of the server per request, in microseconds."""
        return 1e6 * self.server_cores / self.rate


def parse(output: str) -> Report:
    """Read h2load's summary; raises LoadError where there is none."""
    requests = _numbers(r"^requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed", output)
    statuses = _numbers(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    traffic = _numbers(r"^traffic: .*\(\d+\) total, \S+ \((\d+)\) headers .*, \S+ \((\d+)\) data", output)
    return Report(requests[0], requests[1], requests[2], statuses[0], traffic[0], traffic[1], sum(statuses[1:]))


def grpc_statuses(verbose_output: str) -> list[int]:
    """Return the ``grpc-status`` of every trailer that ``h2load -v`` printed."""
    return [int(code) for code in re.findall(r"^\[stream_id=\d+\] grpc-status: (\d+)\s*$", verbose_output, re.M)]


def check(report: Report, answer_bytes: float, load: Load, protocol: Protocol = GRPC) -> None:
    """Raise LoadError unless every response was a 2xx and all of them look like right answers of ``answer_bytes``.

    Where the protocol hides errors, bytes show them: one wrong answer in ``answer_bytes`` / 16 shows, beside
    those in flight when counting began or ended, of which h2load may count the bytes and not the request, or the other
    way round.
    """
    at_the_edges = load.clients * load.streams
    # Over HTTP/1.1 h2load may count an answer at an edge of the time and not its request.
    unanswered = abs(report.ok_2xx - report.requests) > (0 if protocol.hidden_errors else at_the_edges)
    if report.failed or report.other_statuses or unanswered:
        raise LoadError(f"of {report.requests} requests {report.failed} failed and {report.ok_2xx} were answered 2xx")
    if not protocol.hidden_errors:
        return
    too_few = report.data_bytes < (report.requests - at_the_edges) * (answer_bytes - _SLACK_BYTES)
    most = (report.requests + at_the_edges) * _HEADER_BYTES + load.clients * _FIRST_HEADERS_BYTES
    if too_few or report.header_bytes > most:
        raise LoadError(
            f"{report.requests} answers held {report.data_bytes} bytes, and {report.header_bytes} of headers, but a "
            f"right one holds {answer_bytes:.0f}: some calls ended with an error"
        )


def probe(url: str, body: Path, headers: Sequence[str] = (), protocol: Protocol = GRPC) -> float:
    """Send a body once, raise LoadError unless it is answered OK, and return the answer's size in bytes.

    ``headers``, as ``name: value``, are sent beside those that every call has.
    """
    output = _run([*_command(url, body, headers, protocol), "-v", "-c", "1", "-m", "1", "-n", "1"])
    report = parse(output)
    # gRPC servers put grpc-status into trailers, which h2load prints only where they are a response's only headers.
    wrong = [code for code in grpc_statuses(output) if code != 0]
    if wrong or report.ok_2xx != 1 or report.data_bytes == 0:
        raise LoadError(f"a probe of {url} was not answered OK: grpc-status {wrong or 'unknown'}\n{output}")
    return float(report.data_bytes)


@contextlib.contextmanager
def bodies_on_disk(bodies: Sequence[bytes]) -> Iterator[list[Path]]:
    """Write request bodies to files that h2load can read, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="h2load-") as directory:
        paths = [Path(directory) / f"{i}.body" for i in range(len(bodies))]
        for path, body in zip(paths, bodies, strict=True):
            path.write_bytes(body)
        yield paths


def drive(
    url: str,
    bodies: Sequence[Path],
    load: Load,
    server_pid: int,
    headers: Sequence[str] = (),
    *,
    protocol: Protocol = GRPC,
) -> Measured:
    """Load ``url`` with one h2load per body at once; raises LoadError unless all answers were right.

    ``server_pid`` is the process that started all others of the server.
    """
    sizes = [probe(url, body, headers, protocol) for body in bodies]
    options = ["-c", str(load.clients), "-m", str(load.streams), "-D", _ms(load.seconds), "--warm-up-time"]
    with contextlib.ExitStack() as stack:
        commands = [[*_command(url, body, headers, protocol), *options] for body in bodies]
        fleet = _begun_together(commands, load.warm_up_s, stack)
        server, generators = _cores(server_pid, fleet, load.seconds)
        limit_s = load.seconds + load.warm_up_s + _START_S * len(bodies) + 30.0
        outputs = [process.communicate(timeout=limit_s)[0] for process in fleet]
    reports = [parse(output) for output in outputs]
    for report, size in zip(reports, sizes, strict=True):
        check(report, size, load, protocol)
    total = sum(report.requests for report in reports)
    if total == 0:
        raise LoadError(f"{url} gave no answer in {load.seconds:g} s")
    return Measured(total / load.seconds, [report.requests / total for report in reports], server, generators)


def _begun_together(
    commands: Sequence[Sequence[str]], warm_up_s: float, stack: contextlib.ExitStack
) -> "list[subprocess.Popen[str]]":
    """Start a fleet, each told at the end of its command how long to warm up; returns when all of it begins to count.

    A large one takes a while to start. If each counted from its own start on, together they would count for longer
    than they say. Raises LoadError where starting took most of the time to warm up.
    """
    begins = time.monotonic() + warm_up_s + _START_S * len(commands)
    fleet = [stack.enter_context(_started([*one, _ms(begins - time.monotonic())])) for one in commands]
    left_s = begins - time.monotonic()
    if left_s < warm_up_s / 2:
        raise LoadError(f"{len(commands)} generators took {warm_up_s - left_s:.1f} s longer to start than expected")
    time.sleep(left_s)
    return fleet


def _ms(seconds: float) -> str:
    """A duration as h2load takes it: it reads no fractions."""
    return f"{round(1000 * seconds)}ms"


def _cores(server_pid: int, fleet: Sequence["subprocess.Popen[str]"], seconds: float) -> tuple[float, float]:
    """Cores used by the server and by the fleet, in the middle of the time that is counted."""
    time.sleep(0.05 * seconds)
    started, server, generators = time.monotonic(), cpu_s(server_pid), sum(cpu_s(process.pid) for process in fleet)
    time.sleep(0.85 * seconds)
    elapsed = time.monotonic() - started
    return (
        (cpu_s(server_pid) - server) / elapsed,
        (sum(cpu_s(process.pid) for process in fleet) - generators) / elapsed,
    )


def _command(url: str, body: Path, more: Sequence[str], protocol: Protocol) -> list[str]:
    program = shutil.which("h2load")
    if program is None:
        raise MissingInput("h2load is not installed; Debian and Ubuntu have it in nghttp2-client")
    headers = [part for header in (*protocol.headers, *more) for part in ("-H", header)]
    return [program, *protocol.options, *headers, "-d", str(body), url]


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _run(command: Sequence[str]) -> str:
    # With -v it prints what came, and over HTTP/1.1 that may be bytes of any kind.
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    if done.returncode != 0:
        raise LoadError(f"h2load ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _numbers(pattern: str, output: str) -> list[int]:
    found = re.search(pattern, output, re.M)
    if found is None:
        raise LoadError(f"h2load printed no summary that can be read:\n{output[-2000:]}")
    return [int(number) for number in found.groups()]
