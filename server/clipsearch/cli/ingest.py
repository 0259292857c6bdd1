"""``clipsearch ingest``."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from clipsearch.cli.ingest_options import column_options, running_options
from clipsearch.cli.remote import DEFAULT_SERVER, server_option
from clipsearch.client_options import access

if TYPE_CHECKING:
    from clipsearch.client import Client, ClientError
    from clipsearch.ingest.columns import Mapped
    from clipsearch.ingest.ingest import Options, Outcome
    from clipsearch.ingest.reasons import Rejects
    from clipsearch.ingest.source import Source
    from clipsearch.ingest.state import State

READY_TIMEOUT_S = 30.0

CALL_TIMEOUT_S = 120.0
"""What one write may take: a batch of pictures on a slow server with others before it."""

ATTEMPTS = 20
"""How often a write is tried that a full server refuses."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

_FORMATS = ["pictures", "table", "parquet", "shards", "npy", "embeddings"]


@click.command(context_settings={"show_default": True})
@click.argument("source")
@click.option("--collection", default="default", metavar="NAME", help="The collection to bring the items into.")
@click.option("--create", is_flag=True, help="Make the collection if it is not there.")
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="What SOURCE is, if not what it looks like.")
@click.option("--metadata", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Rows for pictures.")
@click.option("--per-directory", is_flag=True, help="The pictures of a directory are one item.")
@click.option("--embedding-column", metavar="NAME", help="Ready vectors in Parquet. [default: embedding]")
@column_options
@click.option("--yes", is_flag=True, help="With --prune: remove them however many there are.")
@click.option("--watch", is_flag=True, help="Go on, and keep the collection in step; removals need --prune.")
@click.option("--rejects", type=click.Path(dir_okay=False, path_type=Path), help="[default: NAME.rejects.jsonl here]")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="Directory of what the server has.")
@running_options
@server_option
def ingest(
    *,
    source: str,
    collection: str,
    create: bool,
    format_: str | None,
    metadata: Path | None,
    per_directory: bool,
    embedding_column: str | None,
    mapped: "Mapped",
    yes: bool,
    watch: bool,
    rejects: Path | None,
    state: Path | None,
    options: "Options",
    server: str | None,
) -> None:
    """Bring SOURCE into a server's collection, from where you are.

    SOURCE is a directory of pictures; a CSV, TSV, JSON Lines or Parquet file that names their files or URLs; a tar
    shard of webdataset or img2dataset, a directory of them, or a pattern such as 'shards/*.tar'; or ready vectors,
    .npy or Parquet. Run it again to continue after an interruption, and to bring changes: what the server is known to
    have is not sent again. What cannot be used is listed and never stops it.
    """
    if watch and options.dry:
        raise click.UsageError("give --watch or --dry-run, not both")
    from clipsearch.client import Client, RetryPolicy
    from clipsearch.ingest.reasons import Rejects
    from clipsearch.ingest.source import Format, open_source
    from clipsearch.ingest.state import Key, State

    opened = open_source(
        source,
        mapped,
        format_=None if format_ is None else Format(format_),
        metadata=metadata,
        per_directory=per_directory,
        embedding_column=embedding_column,
    )
    address, absolute = server or DEFAULT_SERVER, os.path.abspath(source)  # noqa: PTH100  (a pattern is no path)
    retry = RetryPolicy(max_attempts=ATTEMPTS)
    with ExitStack() as stack:
        client = stack.enter_context(Client(address, timeout=CALL_TIMEOUT_S, retry=retry, **access()))
        _prepare(client, address, collection, create=create and not options.dry)
        known = stack.enter_context(State(state or _states(), Key(address, collection, absolute), dry=options.dry))
        left_out = stack.enter_context(Rejects(rejects or Path(f"{Path(absolute).name}.rejects.jsonl"), source))
        stop = stack.enter_context(_stopping())
        run = _Run(
            client=client,
            collection=collection,
            source=opened,
            state=known,
            rejects=left_out,
            options=options,
            stop=stop,
            yes=yes,
        )
        run.run([Path(source), *([metadata] if metadata else [])] if watch else [])


def _prepare(client: "Client", address: str, collection: str, *, create: bool) -> None:
    """Wait for the server, and see that the collection is there."""
    from clipsearch.client import DeadlineExceeded, Unavailable

    try:
        client.wait_until_ready(READY_TIMEOUT_S)
    except (DeadlineExceeded, Unavailable) as error:
        raise click.ClickException(f"no server is ready at {address}: {error}") from error
    if collection in client.catalogue.collections():
        return
    if not create:
        raise click.ClickException(f"there is no collection {collection!r}; --create makes it, but not with --dry-run")
    client.catalogue.create_collection(collection)


def _states() -> Path:
    return Path(click.get_app_dir("clipsearch")) / "ingest"


class _Run:
    """The passes of one command, and what is said of them."""

    def __init__(
        self,
        *,
        client: "Client",
        collection: str,
        source: "Source",
        state: "State",
        rejects: "Rejects",
        options: "Options",
        stop: threading.Event,
        yes: bool,
    ) -> None:
        from rich.console import Console

        from clipsearch.cli.ingest_progress import IngestProgress
        from clipsearch.ingest.ingest import Ingest

        self._client, self._source, self._rejects, self._dry = client, source, rejects, options.dry
        self._stop, self._yes = stop, yes
        self._bar = IngestProgress(Console(stderr=True))
        self._ingest = Ingest(
            client,
            collection,
            source,
            state=state,
            rejects=rejects,
            options=options,
            consent=self._consent,
            stop=stop,
            report=self._bar.report,
        )

    def run(self, watched: list[Path]) -> None:
        """Bring everything, then keep it in step as long as something is watched; exits with what it came to."""
        from clipsearch.ingest.directory import DirectorySource
        from clipsearch.ingest.watching import Changes, keep_in_step

        if not watched:
            self._end(self._first())
        with Changes(watched, self._stop) as changes:
            outcome = self._first()
            self._say(outcome)
            if not self._stop.is_set():
                click.echo("Watching for changes; Ctrl-C ends it.")
                by_path = isinstance(self._source, DirectorySource) and self._source.knows_items_by_path
                source = self._source if by_path and isinstance(self._source, DirectorySource) else None
                keep_in_step(self._ingest, source, changes, self._client, stop=self._stop, told=self._say)

    def _first(self) -> "Outcome":
        with self._bar as bar:
            bar.begin(self._source.size())
            outcome = self._ingest.sync()
            if not outcome.stopped:
                bar.end(outcome.tally)
        return outcome

    def _consent(self, gone: int, held: int) -> bool:
        if self._yes or self._dry:
            return True
        if not sys.stdin.isatty():
            return False
        self._bar.pause()
        agreed = click.confirm(f"{gone:,} of {held:,} items are gone from the source. Remove them?", err=True)
        self._bar.resume()
        return agreed

    def _say(self, outcome: "Outcome | ClientError") -> None:
        from clipsearch.cli.ingest_progress import left_out, sentence
        from clipsearch.ingest.ingest import Outcome

        if not isinstance(outcome, Outcome):
            click.echo(f"{outcome}; waiting for the server", err=True)
            return
        for notice in outcome.notices:
            click.echo(f"Note: {notice}.", err=True)
        click.echo(sentence(outcome, dry=self._dry))
        if listed := left_out(self._rejects):
            click.echo(listed)
        if outcome.refusal:
            click.echo(f"Not removed: {outcome.refusal}.", err=True)

    def _end(self, outcome: "Outcome") -> NoReturn:
        self._say(outcome)
        context = click.get_current_context()
        if outcome.stopped:
            click.echo("Interrupted; run the same command again to continue.", err=True)
            context.exit(INTERRUPTED)
        nothing = outcome.tally.rejected and not outcome.tally.accepted
        context.exit(1 if outcome.refusal or nothing else 0)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C or SIGTERM sets; a second one ends the process as it would without this."""
    stop = threading.Event()

    def handle(number: int, _: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        click.echo(f"\n{signal.Signals(number).name}: finishing what is under way (again: at once)", err=True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
