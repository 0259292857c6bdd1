"""The closed loop's sender: a process of its own, which takes little of the cores that the server needs.

Run as a program with a Plan as JSON on stdin. It writes a line when it begins to count, and one with the Count when all
is done; or one that says what went wrong.
"""

import json
import select
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass

from .connection import Connection, Target, WrongAnswer
from .http1 import Http1Connection
from .http2 import Http2Connection

COUNTING = "counting"
_LAST_ANSWERS_S = 30.0
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent: ``streams`` calls in flight on each connection, one where it is HTTP/1.1."""

    host: str
    port: int
    tls: bool
    path: str
    headers: dict[str, str]
    http2: bool
    bodies: list[str]
    """In hexadecimal."""
    connections: int
    streams: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True, slots=True)
class Count:
    """Right answers by body, and how long they were counted."""

    answered: list[int]
    seconds: float


def dealt(bodies: int, connections: int, streams: int) -> list[list[int]]:
    """Return the bodies of each connection, by number: all different, if there are as many as calls in flight."""
    if bodies >= connections * streams:
        return [list(range(bodies))[number::connections] for number in range(connections)]
    return [[(number * streams + i) % bodies for i in range(streams)] for number in range(connections)]


class Sender:
    """All connections of one plan."""

    def __init__(self, plan: Plan, stack: ExitStack) -> None:
        """Connect; raises OSError where that cannot be done."""
        self._plan = plan
        bodies = [bytes.fromhex(body) for body in plan.bodies]
        self._dealt = dealt(len(bodies), plan.connections, plan.streams)
        self._connections = {}
        self._poller = stack.enter_context(closing(select.epoll()))
        for numbers in self._dealt:
            connection = _connection(plan, [bodies[number] for number in numbers])
            stack.callback(connection.close)
            self._connections[connection.fileno()] = connection
            self._poller.register(connection.fileno(), select.EPOLLIN)

    def run(self) -> Iterator[Count | None]:
        """Yield None when counting begins, and the count at the end; raises WrongAnswer."""
        for connection in self._connections.values():
            connection.begin()
            self._watch(connection)
        self._call_until(time.monotonic() + self._plan.warm_up_s)
        before, began = self._answered(), time.monotonic()
        yield None
        self._call_until(began + self._plan.seconds)
        after, ended = self._answered(), time.monotonic()
        self._end()
        yield Count([last - first for first, last in zip(before, after, strict=True)], ended - began)

    def _end(self) -> None:
        """Wait for the last answers: calls that were cancelled would be work of another kind."""
        for connection in self._connections.values():
            connection.ending = True
        deadline = time.monotonic() + _LAST_ANSWERS_S
        while any(connection.in_flight for connection in self._connections.values()):
            if time.monotonic() > deadline:
                raise WrongAnswer(f"calls were not answered in {_LAST_ANSWERS_S:g} s")
            self._poll()

    def _call_until(self, end: float) -> None:
        while time.monotonic() < end:
            self._poll()

    def _poll(self) -> None:
        for number, event in self._poller.poll(_LOOK_S):
            connection = self._connections[number]
            if event & ~select.EPOLLOUT:
                connection.read()
            else:
                connection.write()
            if event & select.EPOLLOUT or connection.blocked:
                self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        self._poller.modify(connection.fileno(), select.EPOLLIN | (select.EPOLLOUT if connection.blocked else 0))

    def _answered(self) -> list[int]:
        answered = [0] * len(self._plan.bodies)
        for numbers, connection in zip(self._dealt, self._connections.values(), strict=True):
            for number, count in zip(numbers, connection.answered, strict=True):
                answered[number] += count
        return answered


def _connection(plan: Plan, bodies: Sequence[bytes]) -> Connection:
    tls = None
    if plan.tls:
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # it is ours, on the loopback
        tls.set_alpn_protocols(["h2" if plan.http2 else "http/1.1"])
    target = Target(plan.host, plan.port, tls, plan.path, plan.headers)
    return Http2Connection(target, bodies, plan.streams) if plan.http2 else Http1Connection(target, bodies)


def main() -> None:
    """Do as the plan says; exits with 1 where the server does not."""
    plan = Plan(**json.load(sys.stdin))
    try:
        with ExitStack() as stack:
            for count in Sender(plan, stack).run():
                print(COUNTING if count is None else json.dumps(asdict(count)), flush=True)
    except (WrongAnswer, OSError) as error:
        print(error, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
