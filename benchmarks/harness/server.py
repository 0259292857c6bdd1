"""The server under test, in a process of its own, and the bare one it is compared with."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from clipsearch.client import Client

from .process import child, free_port

START_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: ``host:port``, its process and where its output goes."""

    address: str
    pid: int
    log: Path
    scheme: str = "http"

    def url(self, method: str) -> str:
        """Return the address of a gRPC method for an HTTP/2 client."""
        return f"{self.scheme}://{self.address}{method}"


@contextmanager
def clipsearch(
    bundle: Path,
    log: Path,
    *,
    data: Path | None = None,
    flags: Sequence[str] = (),
    credentials: "grpc.ChannelCredentials | None" = None,
) -> Iterator[Served]:
    """Run ``clipsearch serve`` on the CPU, from the moment it reports SERVING; settings are the defaults but ``flags``.

    And but for the cache of queries: a benchmark repeats a few of them, and would measure little else.
    ``credentials`` are those of a client, where the flags turn TLS on.

    Raises RuntimeError where it does not within two minutes, or has ended; its log says why.
    """
    arguments = ["--bundle", str(bundle), "--device", "cpu", "--log-level", "warning", "--query-cache-mib", "0", *flags]
    if data is not None:
        arguments += ["--data", str(data)]
    address = f"127.0.0.1:{free_port()}"
    with child([sys.executable, "-m", "clipsearch", "serve", "--listen", address, *arguments], log) as process:
        with Client(address, credentials=credentials) as client:
            _wait_until_ready(client, process, log)
        yield Served(address, process.pid, log, "http" if credentials is None else "https")


@contextmanager
def bare(log: Path, bundle: Path | None = None) -> Iterator[Served]:
    """Run the bare grpc.aio servicer of ``bare_server`` from the moment it answers; with a bundle it embeds texts."""
    address = f"127.0.0.1:{free_port()}"
    program = [str(Path(__file__).with_name("bare_server.py")), address, *([] if bundle is None else [str(bundle)])]
    with child([sys.executable, "-P", *program], log) as process:
        with Client(address) as client:
            _wait_until_ready(client, process, log)
        yield Served(address, process.pid, log)


def _wait_until_ready(client: Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once the server reports SERVING; raises RuntimeError where it ended instead, or takes too long."""
    deadline = time.monotonic() + START_LIMIT_S
    while not client.ready(timeout=START_LIMIT_S):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}; {log} says why")
        if time.monotonic() >= deadline:
            raise RuntimeError(f"the server did not report SERVING within {START_LIMIT_S:.0f} s; see {log}")
        time.sleep(0.1)
