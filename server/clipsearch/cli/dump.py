"""``clipsearch dump``; ``export`` is what turns checkpoints into bundles."""

import click

from clipsearch.cli.remote import DEFAULT_SERVER, run_operation, server_option


@click.command()
@click.option("--to", "path", required=True, metavar="FILE", help="FILE.parquet to make, below the server's `exports`.")
@click.option("--collection", default="", metavar="NAME", help="The collection to write out. [default: default]")
@click.option("--overwrite", is_flag=True, help="Replace a file of this name, once the new one is whole.")
@server_option
def dump(path: str, collection: str, overwrite: bool, server: str | None) -> None:
    """Have a server write every item of a collection to a Parquet file of its own, and wait for it.

    The file holds ids, uris, metadata as JSON and float16 embeddings, as they stand when it begins. `clipsearch import`
    and `clipsearch index build` load it.
    """
    from clipsearch.v1 import catalogue_pb2 as pb

    request = pb.ExportItemsRequest(collection=collection, path=path, overwrite=overwrite)
    response = pb.ExportItemsResponse()
    run_operation(server or DEFAULT_SERVER, "ExportItems", request, pb.ExportItemsMetadata(), response)
    click.echo(
        f"{response.items:,} items at sequence number {response.sequence_number}, {response.file_bytes / 1e6:,.1f} MB"
    )
    if response.damaged_items:
        click.echo(f"Left out: {response.damaged_items:,} whose embeddings are damaged; the first are:")
    for item_id in response.first_damaged_ids:
        click.echo(f"  {item_id}")
