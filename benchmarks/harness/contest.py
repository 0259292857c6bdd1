"""Servers that differ in one choice, in turns under the same load: rates, CPU, and what the last is of the first."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .closed_loop import Load, Measured, drive
from .figures import ratios, summarise
from .process import settle
from .report import Line
from .server import Served, clipsearch


@dataclass(frozen=True, slots=True)
class Work:
    """Calls of one kind: what they are called, their method, their bodies and how many at once."""

    name: str
    method: str
    bodies: Sequence[bytes]
    load: Load


@contextmanager
def servers(
    kinds: Mapping[str, Sequence[str]], bundle: Path, work: Path, data: Path | None = None
) -> Iterator[dict[str, Served]]:
    """Run a server of each kind, by the flags that make it, with a copy of ``data`` for each."""
    with ExitStack() as stack:
        running: dict[str, Served] = {}
        for kind, flags in kinds.items():
            name = kind.replace(" ", "-")
            # Of their own each: a data directory is one server's.
            own = None if data is None else work / f"data-of-{name}"
            if own is not None and data is not None and not own.exists():
                shutil.copytree(data, own)
            log = work / "logs" / f"contest-{name}.log"
            running[kind] = stack.enter_context(clipsearch(bundle, log, data=own, flags=flags))
        yield running


def compared(contestants: Mapping[str, Served], work: Work, rounds: int) -> list[Line]:
    """Take turns; returns each one's figures, and the last one's over the first one's."""
    runs: dict[str, list[Measured]] = {kind: [] for kind in contestants}
    for _ in range(rounds):
        for kind, server in contestants.items():
            settle([server.pid])
            runs[kind].append(drive(server.url(work.method), work.bodies, work.load, server.pid))
    lines = []
    for kind, each in runs.items():
        lines.append(Line(work.name, f"{kind}: calls/s", "", summarise([run.rate for run in each])))
        cpu = summarise([run.server_us for run in each])
        lines.append(Line(work.name, f"{kind}: CPU per call", "µs", cpu, better="lower"))
    (first, before), *_, (last, after) = runs.items()
    rate = ratios([run.rate for run in after], [run.rate for run in before])
    cpu = summarise(ratios([run.server_us for run in after], [run.server_us for run in before]))
    return [
        *lines,
        Line(work.name, f"{last} / {first}: calls/s", "x", summarise(rate)),
        Line(work.name, f"{last} / {first}: CPU per call", "x", cpu, better="lower"),
    ]
