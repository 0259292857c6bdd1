"""The options of ``clipsearch ingest``, in groups that the command gets as one value each."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clipsearch.fetch import FetchLimits
    from clipsearch.ingest.columns import Mapped
    from clipsearch.ingest.ingest import Options

MIB = 1 << 20

Command = TypeVar("Command", bound=Callable[..., Any])

_COLUMNS = [
    click.option("--id-column", metavar="NAME", help="The items' ids. [default: id, sku, …]"),
    click.option(
        "--image-column", multiple=True, metavar="NAME", help="Paths or URLs of pictures; may be repeated. [image, …]"
    ),
    click.option("--image-separator", metavar="TEXT", help="Cuts a cell that names several pictures, such as '|'."),
    click.option("--text-column", metavar="NAME", help="A text to find items by that have no picture."),
    click.option("--uri-column", metavar="NAME", help="Where an item's page is. [default: uri, or its first picture]"),
    click.option("--metadata-columns", metavar="A,B,…", help="What is kept as metadata. [default: all other columns]"),
    click.option("--recheck-urls", is_flag=True, help="Download known URLs again, to see whether they changed."),
]

_DOWNLOADS = [
    click.option("--max-picture-mib", type=click.IntRange(1), default=16, help="Largest picture, file or download."),
    click.option("--downloads", type=click.IntRange(1), default=32, help="URLs downloaded at once."),
    click.option("--downloads-per-host", type=click.IntRange(1), default=8, help="And from one host."),
    click.option(
        "--download-timeout", type=click.FloatRange(0, min_open=True), default=60.0, help="Seconds a URL has."
    ),
    click.option("--download-retries", type=click.IntRange(0), default=2, help="Further tries after what may pass."),
    click.option("--max-redirects", type=click.IntRange(0), default=5, help="Redirects that are followed."),
    click.option("--allow-private-urls", is_flag=True, help="Download from private and local addresses too."),
    click.option(
        "--allow-network", multiple=True, metavar="CIDR", help="Or from these networks only; may be repeated."
    ),
]

_RUNNING = [
    click.option("--prune", is_flag=True, help="Remove items that are gone from SOURCE."),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
    click.option("--skip-bad-pictures", is_flag=True, help="Take items without those of their pictures that fail."),
    click.option("--batch-size", type=click.IntRange(1), default=64, help="Pictures in one call."),
    click.option("--concurrency", type=click.IntRange(1), default=4, help="Calls at once."),
    click.option("--held-mib", type=click.IntRange(8), default=64, help="Pictures held in memory."),
    click.option(
        "--patience", type=click.FloatRange(0), default=300.0, help="Seconds to wait for a server that's away."
    ),
]


def column_options(command: Command) -> Command:
    """Add the options of columns; the command gets them as ``mapped``."""
    return _folded(command, _COLUMNS, "mapped", _mapped)


def running_options(command: Command) -> Command:
    """Add the options of a run and of its downloads; the command gets them as ``options``."""
    return _folded(command, [*_RUNNING, *_DOWNLOADS], "options", _options)


def _folded(
    command: Command, options: Sequence[Callable[[Any], Any]], name: str, fold: Callable[[dict[str, Any]], object]
) -> Command:
    names: list[str] = []

    @wraps(command)
    def folded(**given: Any) -> Any:
        values = {key: given.pop(key) for key in names}
        return command(**given, **{name: fold(values)})

    made: Any = folded
    for option in reversed(options):
        made = option(made)
    names += [f"{option.name}" for option in made.__click_params__[-len(options) :]]
    result: Command = made
    return result


def _mapped(given: dict[str, Any]) -> "Mapped":
    from clipsearch.ingest.columns import Mapped

    columns = given["metadata_columns"]
    return Mapped(
        id=given["id_column"],
        images=given["image_column"],
        text=given["text_column"],
        uri=given["uri_column"],
        metadata=None if columns is None else tuple(name.strip() for name in columns.split(",") if name.strip()),
        separator=given["image_separator"],
        recheck_urls=given["recheck_urls"],
    )


def _options(given: dict[str, Any]) -> "Options":
    from clipsearch.ingest.batches import Bounds
    from clipsearch.ingest.ingest import Options

    return Options(
        prune=given["prune"],
        dry=given["dry_run"],
        partial=given["skip_bad_pictures"],
        patience_s=given["patience"],
        bounds=Bounds(
            batch_items=given["batch_size"], concurrency=given["concurrency"], held_bytes=given["held_mib"] * MIB
        ),
        fetch=_fetch(given),
    )


def _fetch(given: dict[str, Any]) -> "FetchLimits":
    from clipsearch.fetch import FetchLimits

    return FetchLimits(
        max_bytes=given["max_picture_mib"] * MIB,
        total_timeout_s=given["download_timeout"],
        max_redirects=given["max_redirects"],
        retries=given["download_retries"],
        concurrency=given["downloads"],
        per_host_concurrency=given["downloads_per_host"],
        allow_private=given["allow_private_urls"],
        allow_networks=given["allow_network"],
    )
