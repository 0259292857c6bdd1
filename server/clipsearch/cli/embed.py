"""``clipsearch embed``: pictures or texts to vectors in a file. The work is ``clipsearch.embed_job``'s."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import click

from clipsearch.cli.remote import DEFAULT_SERVER, server_option
from clipsearch.client_options import access

if TYPE_CHECKING:
    from clipsearch.embed_job.engines import Engine
    from clipsearch.embed_job.items import Kind
    from clipsearch.embed_job.sources import Source
    from clipsearch.embed_job.work import Progress as Made

READY_TIMEOUT_S = 30.0
DRAW_EVERY_S = 0.1


@click.command()
@click.argument("source", type=click.Path(exists=True, allow_dash=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="FILE.parquet or FILE.npy.")
@server_option
@click.option(
    "--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Embed in process with this model."
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where --bundle runs. [default: auto]"
)
@click.option("--column", help="Column of a CSV, TSV, JSONL or Parquet SOURCE: texts, or paths or URLs of pictures.")
@click.option("--id-column", help="Column with the ids. [default: id where there is one, else row numbers]")
@click.option(
    "--kind",
    type=click.Choice(["text", "image"]),
    help="What values are. [default: texts; of a column, what its first value looks like]",
)
@click.option("--restart", is_flag=True, help="Begin anew, whatever an interrupted run has left in OUT.partial.")
@click.option("--concurrency", type=click.IntRange(1), default=16, show_default=True, help="Downloads at once.")
@click.option("--allow-private", is_flag=True, help="Download from private and loopback addresses too.")
def embed(
    *,
    source: Path,
    out: Path,
    server: str | None,
    bundle: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    column: str | None,
    id_column: str | None,
    kind: "Kind | None",
    restart: bool,
    concurrency: int,
    allow_private: bool,
) -> None:
    """Embed SOURCE, through a server or in process.

    SOURCE is a directory of pictures (an item's id is its path in it), a text file or - for standard input (one text a
    line; its id is the line number), or a table of which --column is embedded. The order is kept. What can't be
    embedded is listed in OUT.rejects.jsonl and skipped. With .npy, the ids go to OUT.ids.jsonl.

    A run that is interrupted, however it ends, is continued by the same command.
    """
    if server is not None and bundle is not None:
        raise click.UsageError("give --server or --bundle, not both")
    from clipsearch.embed_job.job import Job, run
    from clipsearch.embed_job.outputs import check_output, rejects_path
    from clipsearch.embed_job.work import WorkDirectory
    from clipsearch.fetch import FetchLimits

    check_output(out)
    limits = FetchLimits(concurrency=concurrency, allow_private=allow_private)
    with WorkDirectory(out) as work:
        if restart:
            work.forget()
        items = _open_source(source, column, id_column, kind, work.path)
        with _engine(server, bundle, device) as engine, _Progress(items.total) as bar:
            try:
                made = run(Job(items, engine, column, id_column, limits), work, out, bar.show)
            except BaseException:
                bar.say_how_to_go_on(work.path)
                raise
    left_out = f"; {made.rejected:,} left out, listed in {rejects_path(out)}" if made.rejected else ""
    if not made.rows:
        raise click.ClickException(f"nothing was embedded{left_out}")
    click.echo(f"Embedded {made.rows:,} items into {out} ({bar.summary}){left_out}.")


def _open_source(path: Path, column: str | None, id_column: str | None, kind: "Kind | None", scratch: Path) -> "Source":
    from clipsearch.embed_job import sources, tables

    if path.is_dir() or path.suffix.lower() not in tables.TABLES:
        if column is not None or id_column is not None:
            raise click.UsageError(f"--column and --id-column are for {', '.join(tables.TABLES)}, not for {path}")
        if path.is_dir():
            return sources.open_directory(path, scratch)
        return sources.open_lines(path, kind or "text")
    return tables.open_column(path, column, id_column, kind)


@contextmanager
def _engine(server: str | None, bundle: Path | None, device: Literal["auto", "cpu", "cuda"]) -> "Iterator[Engine]":
    if bundle is None:
        from clipsearch.client import Client
        from clipsearch.embed_job.engines import ServerEngine

        with Client(server or DEFAULT_SERVER, **access()) as client:
            client.wait_until_ready(READY_TIMEOUT_S)
            yield ServerEngine(client)
    else:
        from clipsearch.embed_job.local import LocalEngine
        from clipsearch.encoders.load import load_encoders
        from clipsearch.encoders.runtime import RuntimeOptions
        from clipsearch.index.threads import available_cores

        yield LocalEngine(load_encoders(bundle, RuntimeOptions(device=device)), available_cores())


class _Progress:
    """A bar on stderr with rate, remaining time and errors."""

    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("embedding"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[errors]}"),
            console=Console(stderr=True),
        )
        self._total = total
        self._task = self._bar.add_task("embedding", total=total, rate="", errors="")
        self._first: Made | None = None
        self._last: Made | None = None
        self._started = self._drawn = time.monotonic()

    def show(self, progress: "Made") -> None:
        """Draw how far the job is, a few times a second: rich works out a speed each time."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = progress, now
            self._bar.reset(self._task, total=self._total, completed=progress.taken)
            if progress.taken:
                self._bar.console.print(f"{progress.taken:,} items were embedded by an earlier run", highlight=False)
        self._last = progress
        if now - self._drawn >= DRAW_EVERY_S:
            self._drawn = now
            self._draw()

    @property
    def summary(self) -> str:
        """How fast this run was, and how much of the result it has made."""
        if self._first is None or self._last is None:
            return ""
        done = self._last.taken - self._first.taken
        before = f"; {self._first.taken:,} by an earlier run" if self._first.taken else ""
        return f"{done / max(1e-9, self._drawn - self._started):,.0f}/s{before}"

    def say_how_to_go_on(self, directory: Path) -> None:
        """After an interruption, say what is kept."""
        if self._last is not None and self._last.taken:
            kept = f"{self._last.taken:,} items are kept in {directory}; the same command goes on from there"
            self._bar.console.print(kept, highlight=False, soft_wrap=True)

    def _draw(self) -> None:
        if self._first is None or self._last is None:
            return
        rate = (self._last.taken - self._first.taken) / max(1e-9, self._drawn - self._started)
        errors = f"[red]{self._last.rejected:,} left out" if self._last.rejected else ""
        self._bar.update(self._task, completed=self._last.taken, rate=f"{rate:,.0f}/s", errors=errors)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._drawn = time.monotonic()
        self._draw()
        self._bar.stop()
