"""Walks a guide as a newcomer does: runs its commands and its Python, in order, and puts in what they print.

A guide is walked where it has ``console`` blocks (``$ command``, then its output) or Python that a ``text`` block
follows (what it prints). Each guide has a folder and a server of its own: a clone as ``make demo`` leaves it.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clipsearch.client import Client

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "demo/clipsearch_demo/model/bundle"
DEFAULT_ADDRESS = "localhost:50051"
WIDTH = 110
TIMEOUT_S = 300.0

_STEP = re.compile(
    r"^```console\n(?P<console>.*?)^```$|^```python\n(?P<python>(?:(?!^```).)*?)^```\n\n```text\n(?P<printed>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """A newcomer's folder, and the address of the server that runs beside it."""

    folder: Path
    address: str

    def shell(self, command: str) -> str:
        """Run a command line as one typed it; returns what it wrote to stdout. Raises where it fails."""
        return self._run(["bash", "-euo", "pipefail", "-c", command], command)

    def python(self, code: str) -> str:
        """Run Python as a script; returns what it printed. Raises where it fails."""
        code = code.replace(DEFAULT_ADDRESS, self.address)
        return self._run([sys.executable, "-c", code], code)

    def _run(self, arguments: list[str], what: str) -> str:
        path = os.pathsep.join([str(self.folder / ".bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
        environment["XDG_CONFIG_HOME"] = str(self.folder / ".config")  # where ingest keeps its states
        done = subprocess.run(
            arguments, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            raise RuntimeError(f"status {done.returncode} of\n{what}\n{done.stdout}{done.stderr}")
        return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n")


def is_walked(text: str) -> bool:
    """Whether a guide has anything to run."""
    return _STEP.search(text) is not None


def walk(text: str, place: Place) -> str:
    """Return the guide with all outputs as they are now."""

    def step(match: re.Match[str]) -> str:
        if match["console"] is not None:
            return f"```console\n{_console(match['console'], place.shell)}```"
        printed = place.python(match["python"])
        return f"```python\n{match['python']}```\n\n```text\n{printed}\n```"

    return _STEP.sub(step, text)


def _console(block: str, run: Callable[[str], str]) -> str:
    lines = []
    for command in _COMMAND.findall(block):
        printed = run(command.replace("\\\n", " "))
        lines += [f"$ {command}", *([printed] if printed else [])]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def place(folder: Path, demo: Path) -> Iterator[Place]:
    """Furnish an empty folder from a finished demo (``catalogue``, ``data`` and ``queries``), and serve beside it."""
    (folder / "build/demo").mkdir(parents=True)
    for name in ("catalogue", "queries"):
        (folder / "build/demo" / name).symlink_to((demo / name).resolve())
    shutil.copytree(demo / "data", folder / "build/demo/data")
    (folder / "demo").symlink_to(ROOT / "demo")
    (folder / "imports").mkdir()
    address = f"127.0.0.1:{_free_port()}"
    _command(folder / ".bin", address)
    with _serving(folder, address):
        yield Place(folder, address)


def _command(directory: Path, address: str) -> None:
    """Put a ``clipsearch`` there that asks our server where none is named."""
    directory.mkdir()
    script = directory / "clipsearch"
    script.write_text(
        textwrap.dedent(f"""\
        #!{sys.executable}
        from clipsearch.cli import main, remote

        remote.DEFAULT_SERVER = "{address}"
        main()
        """)
    )
    script.chmod(0o755)


@contextlib.contextmanager
def _serving(folder: Path, address: str) -> Iterator[None]:
    options = {"bundle": BUNDLE, "data": folder / "build/demo/data", "listen": address}
    options |= {name: folder / name for name in ("snapshots", "imports", "exports")}
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "clipsearch", "serve", *flags]
    with (folder / "server.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with Client(address) as client:
                client.wait_until_ready(60.0)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
