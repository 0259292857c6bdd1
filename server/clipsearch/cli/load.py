"""``clipsearch import``."""

import click

from clipsearch.cli.remote import DEFAULT_SERVER, run_operation, server_option


@click.command("import")
@click.argument("path")
@click.option("--metadata", "metadata_path", default="", metavar="FILE", help="CSV, TSV or JSON Lines beside it.")
@click.option("--collection", default="", metavar="NAME", help="The collection to load into. [default: default]")
@server_option
def import_items(path: str, metadata_path: str, collection: str, server: str | None) -> None:
    """Have a server load PATH, below its own `imports` directory, into a collection, and wait for it.

    PATH is a directory of pictures, an .npy array of vectors, or a Parquet file with the columns id and embedding.
    Interrupted, it continues where it stopped when it is run again.
    """
    from clipsearch.v1 import catalogue_pb2 as pb

    request = pb.ImportItemsRequest(collection=collection, path=path, metadata_path=metadata_path)
    response = pb.ImportItemsResponse()
    run_operation(server or DEFAULT_SERVER, "ImportItems", request, pb.ImportItemsMetadata(), response)
    counts = response.counts
    click.echo(
        f"{counts.created_items:,} items added, {counts.updated_items:,} updated, {counts.unchanged_items:,} unchanged."
    )
    if counts.rejected:
        most_first = sorted(counts.rejected.items(), key=lambda entry: -entry[1])
        click.echo(f"Left out: {', '.join(f'{count:,} {reason}' for reason, count in most_first)}; the first are:")
    for reject in response.first_rejects:
        click.echo(f"  {reject.path}: {reject.reason}: {reject.message}")
