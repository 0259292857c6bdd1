"""``clipsearch snapshot``."""

import click

from clipsearch.cli.remote import DEFAULT_SERVER, run_operation, server_option


@click.command()
@click.option("--to", "name", required=True, metavar="NAME", help="Directory to make, below the server's `snapshots`.")
@click.option(
    "--collection", "collections", multiple=True, help="What to copy, more than once for several; all if none."
)
@server_option
def snapshot(name: str, collections: tuple[str, ...], server: str | None) -> None:
    """Have a server copy its collections into a new directory of its own, and wait for it.

    The copy is a data directory: `clipsearch verify` checks it, `clipsearch restore` takes collections from it.
    """
    from clipsearch.v1 import catalogue_pb2 as pb

    response = pb.SnapshotResponse()
    request = pb.SnapshotRequest(collections=collections, name=name)
    run_operation(server or DEFAULT_SERVER, "Snapshot", request, pb.SnapshotMetadata(), response)
    for copy in response.collections:
        with_index = copy.HasField("index_sequence_number")
        index = f"index of {copy.index_sequence_number}" if with_index else "no index"
        click.echo(
            f"{copy.collection}: {copy.items:,} items at sequence number {copy.sequence_number}, {index}, "
            f"{copy.disk_bytes / 1e6:,.1f} MB"
        )
