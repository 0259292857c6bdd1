"""``clipsearch embed``: pictures or lines of text to vectors in a file."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import click

from clipsearch.cli.access import access
from clipsearch.cli.remote import DEFAULT_SERVER, server_option

if TYPE_CHECKING:
    from clipsearch.cli.embed_files import Block, Rejects
    from clipsearch.cli.embed_sources import Source

READY_TIMEOUT_S = 30.0


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
def embed(
    *, source: Path, out: Path, server: str | None, bundle: Path | None, device: Literal["auto", "cpu", "cuda"]
) -> None:
    """Embed SOURCE, through a server or in process.

    SOURCE is a directory of pictures (an item's id is its path in it), a text file or - for standard input (one text a
    line; its id is the line number). The order is kept. What can't be embedded is listed in OUT.rejects.jsonl and
    skipped. With .npy, the ids go to OUT.ids.jsonl.
    """
    if server is not None and bundle is not None:
        raise click.UsageError("give --server or --bundle, not both")
    from clipsearch.cli.embed_files import Rejects, check_output
    from clipsearch.cli.embed_sources import open_source

    check_output(out)
    items = open_source(source)
    started = time.monotonic()
    with Rejects(out) as rejects, _Progress(items.total, rejects) as progress:
        if bundle is None:
            embedded = _through_server(server or DEFAULT_SERVER, items, out, progress)
        else:
            embedded = _in_process(bundle, device, items, out, progress)
    left_out = f"; {rejects.count:,} left out, listed in {rejects.path}" if rejects.count else ""
    if not embedded:
        raise click.ClickException(f"nothing was embedded{left_out}")
    rate = embedded / (time.monotonic() - started)
    click.echo(f"Embedded {embedded:,} items into {out} ({rate:,.0f}/s){left_out}.")


def _through_server(server: str, source: "Source", out: Path, progress: "_Progress") -> int:
    from clipsearch.client import Client, ClientError

    with Client(server, **access()) as client:
        client.wait_until_ready(READY_TIMEOUT_S)
        model = client.model()

        def blocks() -> Iterator["Block"]:
            for item_id, result in client.stream_embed(source.items(progress.reject), in_order=True):
                if isinstance(result, ClientError):
                    progress.reject(item_id, result.reason or result.code.name, result.message)
                else:
                    yield [item_id], result.vector[None]

        return _write(blocks(), out, model.dimension, model.weight_hash, progress)


def _in_process(
    bundle: Path, device: Literal["auto", "cpu", "cuda"], source: "Source", out: Path, progress: "_Progress"
) -> int:
    from clipsearch.cli.embed_local import embed_local
    from clipsearch.encoders.load import load_encoders
    from clipsearch.encoders.runtime import RuntimeOptions

    encoders = load_encoders(bundle, RuntimeOptions(device=device))
    manifest = encoders.manifest
    blocks = embed_local(encoders, source, progress.reject)
    return _write(blocks, out, manifest.dimension, manifest.weight_hash, progress)


def _write(blocks: Iterable["Block"], out: Path, dimension: int, weight_hash: str, progress: "_Progress") -> int:
    """Write every block and give the file its name; returns the number of rows. Without any row there is no file."""
    from clipsearch.cli.embed_files import gathered, open_output

    rows = 0
    with open_output(out, dimension, weight_hash) as output:
        for ids, vectors in gathered(progress.counted(blocks)):
            output.write(ids, vectors)
            rows += len(ids)
        if rows:
            output.commit()
    return rows


class _Progress:
    """A bar on stderr with rate, remaining time and errors; also where items are rejected, so that it counts them."""

    def __init__(self, total: int | None, rejects: "Rejects") -> None:
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
        self._task = self._bar.add_task("embedding", total=total, rate="", errors="")
        self._rejects = rejects

    def reject(self, item_id: str, reason: str, message: str) -> None:
        """List an item that can't be embedded, and count it as done."""
        self._rejects.add(item_id, reason, message)
        self._advance(1)

    def counted(self, blocks: Iterable["Block"]) -> Iterator["Block"]:
        """Pass blocks through, counting their items as done."""
        for block in blocks:
            self._advance(len(block[0]))
            yield block

    def _advance(self, steps: int) -> None:
        speed = self._bar.tasks[0].finished_speed or self._bar.tasks[0].speed
        errors = f"[red]{self._rejects.count:,} left out" if self._rejects.count else ""
        self._bar.update(self._task, advance=steps, rate=f"{speed:,.0f}/s" if speed else "", errors=errors)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
