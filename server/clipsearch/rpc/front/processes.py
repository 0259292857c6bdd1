"""The front processes of a server: started, watched, replaced, stopped. A ``Transport``."""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from grpc import aio

from clipsearch.errors import ConfigError
from clipsearch.rpc.front import child
from clipsearch.rpc.front import frames as f
from clipsearch.rpc.front.calls import Calls
from clipsearch.rpc.front.frames import Frame
from clipsearch.rpc.front.link import Link
from clipsearch.rpc.methods import Methods
from clipsearch.rpc.tls import Pem
from clipsearch.rpc.transport import TransportOptions

logger = logging.getLogger(__name__)

_START_LIMIT_S: Final = 60.0
_STOP_LATE_S: Final = 5.0
"""How much later than the grace period a front is ended from here."""

_AGAIN_S: Final = 1.0
"""How long after the last one was started a front is replaced, at the soonest."""


class FrontProcesses:
    """Fronts that listen on one port and pass calls on to this process; see Transport."""

    def __init__(self, options: TransportOptions, interceptors: Sequence[aio.ServerInterceptor]) -> None:
        self._options = options
        self._methods = Methods(interceptors)
        self.registry: Any = self._methods
        self._fronts: dict[int, _Front] = {}
        self._held: socket.socket | None = None
        self._listen = options.listen
        self._stopping = False
        self._keeping: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """See Transport."""
        port = self._hold_port()
        if self._options.certificates is not None:
            loop = asyncio.get_running_loop()

            def replaced(pem: Pem) -> None:
                loop.call_soon_threadsafe(self._pass_on, pem)

            self._options.certificates.tell(replaced)
        try:
            for place in range(self._options.fronts):
                self._fronts[place] = await self._start_one()
        except BaseException:
            await self.stop(0.0)
            raise
        self._keeping = [asyncio.create_task(self._keep(place)) for place in self._fronts]
        return port

    def pids(self) -> list[int]:
        """See Transport."""
        return [front.pid for front in self._fronts.values()]

    async def stop(self, grace_s: float) -> None:
        """See Transport."""
        self._stopping = True
        await asyncio.gather(*(front.stop(grace_s) for front in self._fronts.values()))
        for task in self._keeping:
            task.cancel()
        if self._held is not None:
            self._held.close()

    def _pass_on(self, pem: Pem) -> None:
        for front in self._fronts.values():
            front.send((f.CERTIFICATES, 0, pem.chain, pem.key, pem.client_ca))

    async def _start_one(self) -> "_Front":
        certificates = self._options.certificates
        pem = None if certificates is None else certificates.pem
        front = await _Front.launch(self._methods, self._options.event_loop)
        front.send(
            child.FrontOptions(
                listen=self._listen,
                single=self._methods.single(),
                asks=self._options.gate is not None,
                certificates=None if pem is None else (pem.chain, pem.key, pem.client_ca),
                limits=self._options.limits,
            ).to_frame()
        )
        try:
            await front.listening()
        except BaseException:
            front.kill()
            raise
        return front

    async def _keep(self, place: int) -> None:
        """Replace a front whenever it ends."""
        while True:
            front = self._fronts[place]
            await front.ended.wait()
            if self._stopping:
                return
            logger.warning("a front process ended with status %s; starting another", await front.status())
            await asyncio.sleep(max(0.0, front.started + _AGAIN_S - time.monotonic()))
            with contextlib.suppress(ConfigError):  # which is logged, and tried again
                self._fronts[place] = await self._start_one()

    def _hold_port(self) -> int:
        """Find out the port, and keep it while fronts come and go; raises ConfigError where it is somebody else's.

        A socket that is bound to it and does not listen gets no connections, and fronts may share its port.
        """
        if self._listen.startswith("unix:"):
            return 0
        host, _, port = self._listen.rpartition(":")
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            # Once without sharing: another server that shares its port, too, would get half of the calls.
            with socket.socket(family, kind) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
                address = alone.getsockname()
            self._held = socket.socket(family, kind)
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._held.bind(address)
        except OSError as error:
            raise ConfigError(f"cannot listen on {self._listen}: {error}") from error
        self._listen = f"{host}:{address[1]}"
        return int(address[1])


class _Front:
    """One front process, seen from the engine."""

    def __init__(self, process: subprocess.Popen[bytes], methods: Methods) -> None:
        self._process = process
        self._link = Link(self._receive, self._lost)
        self._calls = Calls(methods, self._link.send)
        self.pid, self.started = process.pid, time.monotonic()
        self.ended = asyncio.Event()
        self._listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def launch(cls, methods: Methods, event_loop: str) -> "_Front":
        """Start the process; it waits to be told what to do."""
        ours, theirs = socket.socketpair()
        with theirs:
            front = cls(_spawn(theirs.fileno(), event_loop), methods)
        await front._link.connect(ours)
        return front

    def send(self, frame: Frame) -> None:
        """Send a frame."""
        self._link.send(frame)

    async def listening(self) -> None:
        """Wait until the port is open; raises ConfigError where it is not to be had."""
        try:
            await asyncio.wait_for(self._listening, _START_LIMIT_S)
        except TimeoutError:
            raise ConfigError(f"a front process did not start within {_START_LIMIT_S:g} s") from None

    async def stop(self, grace_s: float) -> None:
        """Let its calls end, and then it."""
        self.send((f.STOP, 0, grace_s))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), grace_s + _STOP_LATE_S)
        self.kill()
        await self.status()

    async def status(self) -> int:
        """Wait until the process is gone; returns what it ended with, negative: by this signal."""
        return await asyncio.to_thread(self._process.wait)

    def kill(self) -> None:
        """End it at once, if it is there."""
        self._process.kill()
        self._link.close()

    def _receive(self, frame: Frame) -> None:
        kind = frame[0]
        if kind == f.LISTENING:
            self._listening.set_result(None)
        elif kind == f.FAILED:
            self._listening.set_exception(ConfigError(f"cannot listen: {frame[2]}"))
        else:
            self._calls.receive(frame)

    def _lost(self) -> None:
        self._calls.cancel_all()
        self.ended.set()
        if not self._listening.done():
            self._listening.set_exception(ConfigError("a front process did not start; what it wrote is above"))


def _spawn(descriptor: int, event_loop: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # Without the working directory among the places to import from.
        [sys.executable, "-P", "-m", child.__name__, str(descriptor), event_loop],
        stdin=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        # All there is in its environment: the server's own may hold secrets.
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        # Not the terminal's, whose Ctrl-C goes to the whole group while the engine wants to drain.
        process_group=0,
    )
