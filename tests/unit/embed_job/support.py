"""An engine that needs no model, and jobs with it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from clipsearch.embed_job.engines import Model
from clipsearch.embed_job.errors import EngineLost
from clipsearch.embed_job.items import Item, Kind, Outcome, Problem, Vector
from clipsearch.embed_job.job import Job, run
from clipsearch.embed_job.sources import open_lines
from clipsearch.embed_job.work import Progress, WorkDirectory

MODEL = Model("0123456789abcdef", "fp32", 8)


def vector_of(content: str | bytes) -> Vector:
    """Return the vector that the engine gives a content."""
    data = content.encode() if isinstance(content, str) else content
    return np.frombuffer(hashlib.sha256(data).digest(), np.uint8)[:8].astype(np.float32) / 255


class HashEngine:
    """Embeds by hashing, in blocks of ``block``. An empty text has a problem.

    Loses its server when asked for more than ``lost_after`` items. ``seen`` has the ids of those it has embedded.
    """

    def __init__(
        self, model: Model = MODEL, block: int = 7, lost_after: int | None = None, remember: bool = True
    ) -> None:
        self.model = model
        self.block = block
        self.lost_after = lost_after
        self.recoveries = 0
        self.remember = remember
        self.seen: list[str] = []

    def embed(self, items: Iterable[Item], kind: Kind) -> Iterator[list[Outcome]]:
        items = iter(items)
        done = 0
        while block := list(islice(items, self.block)):
            if self.lost_after is not None and done + len(block) > self.lost_after:
                raise EngineLost("gone")
            done += len(block)
            if self.remember:
                self.seen += [item.id for item in block]
            yield [(item, self.outcome(item)) for item in block]

    def outcome(self, item: Item) -> Vector | Problem:
        if isinstance(item.content, Problem):
            return item.content
        assert isinstance(item.content, str | bytes), item
        return vector_of(item.content) if item.content else Problem("TEXT_EMPTY", "the text is empty")

    def recover(self) -> None:
        self.recoveries += 1


def embed_lines(
    path: Path, out: Path, engine: HashEngine, report: Callable[[Progress], None] = lambda progress: None
) -> Progress:
    """Embed the lines of a file."""
    with WorkDirectory(out) as work:
        return run(Job(open_lines(path, "text"), engine), work, out, report)


def made(out: Path) -> dict[str, bytes]:
    """Return every file of an output, by name; the work directory must be gone."""
    files = {path.name: path.read_bytes() for path in out.parent.iterdir() if path.name.startswith(out.name)}
    assert files, "there is no output"
    return files
