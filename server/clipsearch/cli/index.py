"""``clipsearch index build`` and ``clipsearch index info``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from clipsearch.index.manifest import IndexManifest, Recall
    from clipsearch.offline import Outcome

_PATH = click.Path(exists=True, path_type=Path)

STAGES = {
    "embedding": "Storing vectors",
    "texts": "Embedding texts",
    "writing": "Writing vectors",
    "training": "Training",
    "adding": "Adding",
    "checking": "Searching exactly",
    "tuning": "Tuning",
    "copying": "Copying",
    "exporting": "Exporting",
}


@click.group(context_settings={"show_default": True})
def index() -> None:
    """Build an index of pictures or vectors, or describe one."""


@index.command()
@click.argument("source", type=_PATH)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Collection directory.")
@click.option("--bundle", type=_PATH, help="Model bundle; needed for pictures and for texts.")
@click.option("--metadata", type=_PATH, help="CSV, TSV or JSON Lines; one row per item.")
@click.option(
    "--kind", type=click.Choice(["auto", "flat", "ivfpq"]), default="auto", help="auto: flat to 20,000 items."
)
@click.option("--recall-target", type=click.FloatRange(0, 1, min_open=True), default=0.95, help="Recall@10 to reach.")
@click.option("--text-queries", type=_PATH, help="Lines of text, or .npy of vectors, to tune with.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    help="Where the model runs and vectors find lists.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0: one per core.")
@click.option("--seed", type=int, default=0, help="Seed of all that is random in a build.")
def build(
    *,
    source: Path,
    out: Path,
    bundle: Path | None,
    metadata: Path | None,
    kind: str,
    recall_target: float,
    text_queries: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    threads: int,
    seed: int,
) -> None:
    """Embed SOURCE into a catalogue and index it.

    SOURCE is a directory of pictures, an .npy array of vectors, or a Parquet file with the columns id and embedding.
    Interrupted, the build continues where it stopped when it is run again. What cannot be used is listed in
    OUT/rejects.jsonl and never stops it.
    """
    from clipsearch.index.build import IndexOptions
    from clipsearch.index.rules import Kind
    from clipsearch.offline import Request, build_offline

    request = Request(source, out, bundle, metadata, text_queries, device, threads)
    options = IndexOptions(Kind(kind), recall_target, threads, seed, device=device)
    try:
        with progress_bars() as report:
            outcome = build_offline(request, options, report)
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; run the same command again to continue") from None
    _print_outcome(out, outcome)


@index.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def info(directory: Path, as_json: bool) -> None:
    """Describe the index in DIRECTORY: size, parameters, bytes per item, measured recall."""
    from clipsearch.index.manifest import MANIFEST
    from clipsearch.index.storage import check_files, newest_snapshot, read_manifest

    path = directory if (directory / MANIFEST).is_file() else newest_snapshot(directory)
    manifest = read_manifest(path)
    check_files(path, manifest, hashes=False)
    if as_json:
        click.echo(manifest.model_dump_json(indent=2))
    else:
        _print_table(path, manifest)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Give a report function that draws one bar per stage on stderr, with rate and remaining time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>12}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(STAGES.get(stage, stage), total=total, rate="")
            task = progress.tasks[tasks[stage]]
            speed = task.finished_speed or task.speed
            rate = f"{speed:,.0f}/s" if speed else ""
            progress.update(tasks[stage], completed=done, total=total, rate=rate)

        yield report


def _print_outcome(out: Path, outcome: "Outcome") -> None:
    from clipsearch.services.build_report import REJECTS

    tally, manifest = outcome.tally, outcome.manifest
    click.echo(f"{tally.added:,} items added, {tally.updated:,} updated, {tally.unchanged:,} unchanged.")
    if tally.normalised:
        click.echo(f"{tally.normalised:,} vectors were not of unit length and have been normalised.")
    if tally.without_metadata:
        click.echo(f"{tally.without_metadata:,} items have no metadata row.")
    if tally.rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.rejected.most_common())
        click.echo(f"Left out: {reasons}; listed in {out / REJECTS}.")
    if outcome.kept:
        click.echo(f"{outcome.kept:,} items are not in this source and were kept; build into a new directory without.")
    state = "built" if outcome.rebuilt else "was up to date"
    click.echo(f"The index {state}: {manifest.size:,} items, {_kind(manifest)}.")
    for name, recall in (("picture", manifest.image_recall), ("text", manifest.text_recall)):
        if recall is not None:
            click.echo(f"  {name} queries: {_recall(recall, manifest.recall_target)}")


def _print_table(path: Path, manifest: "IndexManifest") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(path), show_header=False)
    for name, value in _facts(manifest):
        table.add_row(name, value)
    Console().print(table)


def _facts(manifest: "IndexManifest") -> Iterator[tuple[str, str]]:
    yield "items", f"{manifest.size:,}"
    yield "dimension", str(manifest.dimension)
    yield "kind", manifest.kind
    yield "metric", manifest.metric
    if (shape := manifest.ivfpq) is not None:
        yield "nlist", f"{shape.nlist:,} lists"
        yield "M", f"{shape.m} bytes per code"
        yield "nprobe", f"{shape.nprobe} lists per query"
        yield "overfetch", f"{shape.overfetch:g} candidates per result"
        again = "" if shape.training.seq == manifest.seq else f" at sequence number {shape.training.seq}, added again"
        yield "trained on", f"{shape.training.sample:,} vectors{again}"
    for part, size in manifest.bytes_per_item().items():
        yield f"bytes per item, {part}", f"{size:,.1f}"
    exact = "exact" if manifest.ivfpq is None else "not measured"
    for name, recall in (("pictures", manifest.image_recall), ("texts", manifest.text_recall)):
        yield f"recall, {name}", exact if recall is None else _recall(recall, manifest.recall_target)
    if manifest.text_origin is not None:
        yield "text queries from", manifest.text_origin
    yield "model weights", "unknown (ready vectors)" if manifest.model_hash is None else manifest.model_hash[:16]
    yield "sequence number", str(manifest.seq)
    yield (
        "built",
        f"{manifest.built_at} in {manifest.build_s:,.1f} s, seed {manifest.seed}, FAISS {manifest.faiss_version}",
    )


def _kind(manifest: "IndexManifest") -> str:
    if manifest.ivfpq is None:
        return "flat (exact)"
    shape = manifest.ivfpq
    return f"IVF{shape.nlist},PQ{shape.m}, nprobe {shape.nprobe}, overfetch {shape.overfetch:g}"


def _recall(recall: "Recall", target: float) -> str:
    verdict = "reaches" if recall.met else "BELOW"
    return f"recall@{recall.k} {recall.recall:.4f} over {recall.queries:,} queries ({verdict} the target of {target:g})"
