"""``clipsearch ui``."""

from pathlib import Path

import click

from clipsearch.client_options import access, access_options, given_access
from clipsearch_demo.ui.options import Options
from clipsearch_demo.ui.pictures import Pictures
from clipsearch_demo.ui.theme import THEME

DEFAULT_SERVER = "127.0.0.1:50051"
MAX_UPLOAD_MIB = 64
"""Of one click: a product may have several pictures."""


@click.command(context_settings={"show_default": True})
@click.option("--server", default=DEFAULT_SERVER, metavar="HOST:PORT", help="The server to search on.")
@click.option("--listen", default="127.0.0.1:8501", metavar="HOST:PORT", help="Where browsers find the page.")
@click.option(
    "--pictures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    show_default="none",
    help="The directory that the items' picture paths are relative to.",
)
@click.option(
    "--uploads",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("uploads"),
    help="Where pictures of products added from the page are kept.",
)
@click.option("--allow-private-urls", is_flag=True, help="Let visitors have pictures fetched from private addresses.")
@access_options
def ui(server: str, listen: str, pictures: Path | None, uploads: Path, allow_private_urls: bool) -> None:
    """Serve a web page to search a server, and to add and delete its items."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise click.UsageError(f"--listen must be HOST:PORT, not {listen!r}")
    access()  # files that make no credentials are told now, rather than to the first visitor
    serve(
        Options(
            server=server,
            uploads=uploads,
            pictures=pictures,
            allow_private_urls=allow_private_urls,
            access=given_access(),
        ),
        host.strip("[]"),
        int(port),
    )


def serve(options: Options, host: str, port: int) -> None:
    """Serve the page until Ctrl-C or SIGTERM; this takes over the process."""
    # Imported here: it is heavy, and the demo takes the constants of this module without showing a page.
    from streamlit.starlette import App

    from clipsearch_demo.ui.routes import picture_route

    app = App(
        Path(__file__).parent / "page.py",
        secrets=options.to_secrets(),
        routes=[picture_route(Pictures(options.pictures, options.uploads))],
    )
    app.run(
        config={
            **THEME,
            "server.address": host,
            "server.port": port,
            "server.headless": True,
            "server.fileWatcherType": "none",
            "server.maxUploadSize": MAX_UPLOAD_MIB,
            "server.showEmailPrompt": False,
            "browser.gatherUsageStats": False,
            "client.toolbarMode": "minimal",
            "client.showErrorDetails": "none",
        }
    )
