"""``clipsearch keys``: the file of API keys, without a server."""

from datetime import UTC, datetime
from pathlib import Path

import click

from clipsearch.access.scopes import Scope

_FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def keys() -> None:
    """Make, list and revoke API keys.

    FILE is what the server's `keys_file` names. A running server reads it again on SIGHUP.
    """


@keys.command()
@_FILE
@click.option("--name", required=True, help="Who or what will use it; for people to tell keys apart.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it is good for; repeat it for several. None includes another.",
)
@click.option("--calls-per-second", type=float, help="Most calls a second on average. [default: no limit]")
@click.option("--burst", type=float, help="Most calls at once after a pause. [default: those of one second]")
def add(*, file: Path, name: str, scopes: tuple[str, ...], calls_per_second: float | None, burst: float | None) -> None:
    """Make a key and print it: now and never again, since FILE holds its hash alone."""
    from clipsearch.access.file import editing
    from clipsearch.access.keys import new_key
    from clipsearch.access.rates import Rate

    if burst is not None and calls_per_second is None:
        raise click.UsageError("--burst needs --calls-per-second")
    try:
        rate = None if calls_per_second is None else Rate(calls_per_second, burst or max(1.0, calls_per_second))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    whole, key = new_key(name, map(Scope, scopes), rate, _now())
    with editing(file) as known:
        known.append(key)
    # The key alone on stdout, so that a script can take it.
    click.echo(f"Made key {key.id}; it is shown this once:", err=True)
    click.echo(whole)


@keys.command("list")
@_FILE
def list_keys(file: Path) -> None:
    """List the keys of FILE."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from clipsearch.access.file import read_keys

    table = Table()
    for heading in ("id", "name", "scopes", "calls/s", "burst", "made", "revoked"):
        # Folded rather than cut: half an id is of no use to anybody.
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    for key in read_keys(file):
        rate = ("", "") if key.rate is None else (f"{key.rate.per_s:g}", f"{key.rate.burst:g}")
        scopes = " ".join(scope.value for scope in Scope if scope in key.scopes)
        # Text, because names in square brackets would be taken for markup.
        table.add_row(
            key.id,
            Text(key.name),
            scopes,
            *rate,
            *(when.partition("T")[0] for when in (key.created, key.revoked or "")),
        )
    Console().print(table)


@keys.command()
@_FILE
@click.argument("key_id", metavar="ID")
def revoke(file: Path, key_id: str) -> None:
    """Have a server refuse the key ID from its next SIGHUP or start on."""
    from clipsearch.access.file import editing
    from clipsearch.access.file import revoke as revoke_key

    if not file.exists():
        raise click.ClickException(f"there is no file {file}")
    with editing(file) as known:
        revoke_key(known, key_id, _now())
    click.echo(f"Revoked {key_id}. A running server takes it until it gets SIGHUP.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
