"""``clipsearch search``."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipsearch.cli.remote import DEFAULT_SERVER, server_option
from clipsearch.client_options import access

if TYPE_CHECKING:
    from rich.table import Table

    from clipsearch.client import SearchResult, Timings, View


@click.command(context_settings={"show_default": True})
@click.argument("text", required=False)
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Search by this picture.")
@click.option("--id", "item_id", metavar="ID", help="Search by an item of the index.")
@click.option("--top-k", type=int, default=10, help="How many items to find.")
@click.option("--collection", default="", show_default="default", metavar="NAME", help="The collection to search.")
@click.option(
    "--filter",
    "condition",
    default="",
    show_default=False,
    metavar="FILTER",
    help="Only items whose metadata match this, such as 'price < 50'.",
)
@click.option("--exclude", "excluded", multiple=True, metavar="ID", help="Leave this item out; may be repeated.")
@click.option("--min-score", type=float, help="Only items with at least this score.")
@click.option("--nprobe", type=int, help="Lists of the index to visit instead of the tuned number.")
@click.option(
    "--view",
    type=click.Choice(["basic", "metadata", "full"]),
    default="metadata",
    help="basic: ids and scores; full: the vectors too (with --json).",
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=30.0, help="Seconds to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@server_option
def search(
    *,
    text: str | None,
    image: Path | None,
    item_id: str | None,
    top_k: int,
    collection: str,
    condition: str,
    excluded: tuple[str, ...],
    min_score: float | None,
    nprobe: int | None,
    view: "View",
    timeout: float,
    as_json: bool,
    server: str | None,
) -> None:
    """Find the items nearest to TEXT, to a picture, or to an item of the index."""
    if sum(given is not None for given in (text, image, item_id)) != 1:
        raise click.UsageError("give exactly one of TEXT, --image and --id")
    from clipsearch.client import Client

    with Client(server or DEFAULT_SERVER, timeout=timeout, **access()) as client:
        found = client.search(
            text=text,
            image=image,
            item_id=item_id,
            top_k=top_k,
            collection=collection,
            filter=condition,
            exclude_ids=excluded,
            min_score=min_score,
            nprobe=nprobe,
            view=view,
        )
    if as_json:
        click.echo(json.dumps(as_plain(found), ensure_ascii=False))
        return
    from rich.console import Console

    if found.hits:
        Console().print(_table(found))
    else:
        click.echo("Nothing matches.")
    if found.truncated:
        click.echo("The text is longer than the model's context and was cut.")
    click.echo(_timings_line(found.timings))


def as_plain(found: "SearchResult") -> dict[str, Any]:
    """Return a result as JSON values; what the view left out has no key."""
    hits = []
    for hit in found.hits:
        plain: dict[str, Any] = {"id": hit.id, "score": hit.score}
        if hit.metadata is not None:
            plain["metadata"] = hit.metadata
        if hit.vector is not None:
            plain["vector"] = hit.vector.tolist()
        hits.append(plain)
    return {
        "hits": hits,
        "truncated": found.truncated,
        "sequence_number": found.sequence_number,
        "timings": dataclasses.asdict(found.timings),
    }


def _table(found: "SearchResult") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("rank", justify="right")
    # Folded rather than cut: half an id is of no use to anybody.
    table.add_column("id", overflow="fold")
    titled = any(hit.metadata and "title" in hit.metadata for hit in found.hits)
    if titled:
        table.add_column("title", overflow="fold")
    table.add_column("score", justify="right")
    for rank, hit in enumerate(found.hits, start=1):
        title = [Text(str((hit.metadata or {}).get("title", "")))] if titled else []
        table.add_row(str(rank), Text(hit.id), *title, f"{hit.score:.4f}")
    return table


def _timings_line(timings: "Timings") -> str:
    stages = (
        ("preprocess", timings.preprocess_us),
        ("queue", timings.queue_us),
        ("encode", timings.encode_us),
        ("search", timings.search_us),
    )
    parts = ", ".join(f"{name} {us / 1000:.2f}" for name, us in stages)
    return f"{timings.total_us / 1000:.2f} ms in the server: {parts}"
