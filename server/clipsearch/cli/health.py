"""``clipsearch health``."""

import click

from clipsearch.cli.remote import DEFAULT_SERVER, server_option
from clipsearch.client_options import access

TIMEOUT_S = 3.0


@click.command(context_settings={"show_default": True})
@click.option("--wait", type=click.FloatRange(min=0), default=0.0, help="Seconds to wait for it to serve.")
@server_option
def health(wait: float, server: str | None) -> None:
    """Ask a server whether it serves: exit status 0 if it does, 1 if not.

    What a container's health check runs; Kubernetes asks the same of the server itself.
    """
    from clipsearch.client import Client, DeadlineExceeded

    address = server or DEFAULT_SERVER
    with Client(address, **access()) as client:
        try:
            if wait:
                client.wait_until_ready(wait)
            serving = bool(wait) or client.ready(timeout=TIMEOUT_S)
        except DeadlineExceeded:
            serving = False
    if not serving:
        raise click.ClickException(f"{address} does not serve")
    click.echo(f"{address} serves")
