"""``clipsearch top``.

It reads the metrics endpoint, as Prometheus does, rather than an RPC of its own: the same figures have one source, one
meaning and one set of names, and whoever may look at them needs no access to the catalogue.
"""

import time
from typing import TYPE_CHECKING

import click

from clipsearch.cli.scrape import NoMetrics, Scrape, Window, scrape

if TYPE_CHECKING:
    from rich.console import RenderableType

DEFAULT_METRICS = "127.0.0.1:9464"


@click.command(context_settings={"show_default": True})
@click.option(
    "--metrics", metavar="HOST:PORT", default=DEFAULT_METRICS, help="What the server was given as --metrics-listen."
)
@click.option("--every", type=click.FloatRange(min=0.1), default=2.0, metavar="SECONDS", help="Time between two looks.")
@click.option("--once", is_flag=True, help="Print one frame and exit, for scripts; takes one such time.")
def top(metrics: str, every: float, once: bool) -> None:
    """Watch a server: calls, lanes and collections, between two looks at its metrics each. Ctrl-C ends it."""
    from rich.console import Console
    from rich.live import Live

    from clipsearch.cli.top_view import frame

    before = scrape(metrics)
    time.sleep(every)
    console = Console()
    shown = Window(before, scrape(metrics))
    rendered = frame(shown, metrics)
    if once:
        console.print(rendered)
        return
    try:
        with Live(rendered, console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                shown, rendered = _next(shown, metrics)
                live.update(rendered, refresh=True)
    except KeyboardInterrupt:
        console.print(rendered)


def _next(shown: Window, metrics: str) -> "tuple[Window, RenderableType]":
    """The next frame; while the server does not answer, the last one under what is wrong."""
    from rich.console import Group
    from rich.text import Text

    from clipsearch.cli.top_view import frame

    try:
        now: Scrape = scrape(metrics)
    except NoMetrics as error:
        return shown, Group(Text(str(error), style="bold red"), Text(""), frame(shown, metrics))
    window = Window(shown.after, now)
    return window, frame(window, metrics)
