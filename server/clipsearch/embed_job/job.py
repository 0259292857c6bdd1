"""One job from the first item to the finished output, from wherever it stopped last time."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from clipsearch.embed_job.engines import Engine
from clipsearch.embed_job.errors import EngineLost, JobChanged
from clipsearch.embed_job.items import Digest, Item
from clipsearch.embed_job.loading import Loader
from clipsearch.embed_job.outputs import finish
from clipsearch.embed_job.sources import Source
from clipsearch.embed_job.work import Identity, Progress, WorkDirectory
from clipsearch.embed_job.writer import Writer
from clipsearch.fetch import FetchLimits

Report = Callable[[Progress], None]
"""Told after every block how far the job is."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to embed with what; ``column`` and ``id_column`` as they were given."""

    source: Source
    engine: Engine
    column: str | None = None
    id_column: str | None = None
    limits: FetchLimits = field(default_factory=FetchLimits)

    @property
    def identity(self) -> Identity:
        """What must be the same for the job to go on."""
        return Identity(self.engine.model, self.source.kind, self.column, self.id_column)


def run(job: Job, work: WorkDirectory, out: Path, report: Report) -> Progress:
    """Embed what is not embedded yet, and make the output; returns what it is made of.

    Raises JobChanged where the directory holds another job, and EngineLost where the server stays away: what was
    embedded is kept then, as it is when anything else is raised, and the same call goes on with it.
    """
    progress = work.resume(job.identity)
    report(progress)
    while not progress.finished:
        before = progress.taken
        try:
            progress = _pass(job, work, progress, report)
        except EngineLost:
            progress = work.resume(job.identity)
            # A server that is lost at the same item again is lost because of it.
            if not job.source.repeatable or progress.taken == before:
                raise
            job.engine.recover()
    finish(work, out, progress, job.engine.model)
    return progress


def _pass(job: Job, work: WorkDirectory, progress: Progress, report: Report) -> Progress:
    """Embed from where ``progress`` stands to the end of the source."""
    with closing(job.source.items()) as items:
        digest = _passed_over(items, progress, work)
        with Writer(work, job.engine.model.dimension, progress, digest) as writer, Loader(job.limits) as loader:
            loaded: Iterator[Item] = items if job.source.kind == "text" else loader.loaded(items)
            for block in job.engine.embed(loaded, job.source.kind):
                writer.add(block)
                report(writer.progress)
    finished = replace(writer.progress, finished=True)
    work.note(finished)
    return finished


def _passed_over(items: Iterator[Item], progress: Progress, work: WorkDirectory) -> Digest:
    """Skip what is embedded already; raises JobChanged unless the source still begins with just that."""
    digest = Digest()
    for number in range(progress.taken):
        item = next(items, None)
        if item is None:
            raise JobChanged(
                f"the source has {number:,} items, and {progress.taken:,} were embedded already into {work.path}; "
                "--restart begins anew"
            )
        digest.add(item)
    if digest.hexdigest() != progress.digest:
        raise JobChanged(
            f"the {progress.taken:,} items that were embedded already into {work.path} are not the first ones of the "
            "source any more: some have changed, gone or come; --restart begins anew"
        )
    return digest
