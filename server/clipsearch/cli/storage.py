"""``clipsearch restore`` and ``clipsearch verify``, which work on directories without a server."""

from collections.abc import Iterator
from pathlib import Path

import click

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("snapshot", type=_DIRECTORY)
@click.option("--data", required=True, type=click.Path(file_okay=False, path_type=Path), help="Data directory.")
@click.option("--collection", metavar="NAME", help="Restore this one only; all of the snapshot if not given.")
def restore(snapshot: Path, data: Path, collection: str | None) -> None:
    """Copy collections of SNAPSHOT into a data directory; a server sees them when it is started next.

    They are verified first, and a collection that is there already is never overwritten. Without an index, or with one
    that is not whole, the server builds it anew.
    """
    from clipsearch.backups import restore as restore_collections

    for name, copy in restore_collections(snapshot, data, collection).items():
        index = "no index: it will be built" if copy.index_seq is None else f"index of {copy.index_seq}"
        click.echo(f"{name}: {copy.items:,} items at sequence number {copy.seq}, {index}")


@click.command()
@click.argument("data_dir", type=_DIRECTORY)
@click.pass_context
def verify(ctx: click.Context, data_dir: Path) -> None:
    """Read every collection of DATA_DIR (or the one that it is) and print what is wrong, a line each.

    Checks SQLite's structure, every embedding's checksum, and that the newest index is whole and agrees. The exit
    status is 1 where anything is wrong. A server may be running.
    """
    from clipsearch.catalogue.schema import catalogue_file
    from clipsearch.data import collection_directories

    alone = catalogue_file(data_dir).is_file()
    collections = {data_dir.resolve().name: data_dir} if alone else collection_directories(data_dir)
    if not collections:
        raise click.ClickException(f"{data_dir} holds no collection")
    problems = [problem for name, directory in collections.items() for problem in _problems(name, directory)]
    for problem in problems:
        click.echo(problem)
    if problems:
        ctx.exit(1)


def _problems(name: str, directory: Path) -> Iterator[str]:
    """Say what is wrong with a collection, or print that nothing is."""
    from clipsearch.errors import ClipsearchError
    from clipsearch.verification import verify as verify_collection

    try:
        found = verify_collection(directory)
    except ClipsearchError as error:
        yield f"{name}: {error.message}"
        return
    yield from (f"{name}: {problem}" for problem in found.problems)
    yield from (f"{name}: the embedding of {item_id!r} does not match its checksum" for item_id in found.damaged)
    if found.ok:
        click.echo(f"{name}: whole, {found.live:,} items, {found.tombstones:,} tombstones")
