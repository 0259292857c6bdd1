"""``clipsearch demo``: the whole path on the sample catalogue, through the public command line and client.

Draws the catalogue, builds the index, starts a server, asks it three texts and two pictures, shows the hits as tables
and as a contact sheet, and keeps serving, with the web page beside it. Each step is skipped where its result is there
already.
"""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from clipsearch.client import Client, DeadlineExceeded, Hit
from clipsearch_demo.catalogue.render import render
from clipsearch_demo.catalogue.specs import ProductSpec, generate_specs
from clipsearch_demo.catalogue.write import write_catalogue
from clipsearch_demo.contact_sheet import SheetHit, SheetRow, draw_contact_sheet

BUNDLE = Path(__file__).parent / "model" / "bundle"
CATALOGUE_SIZE = 6000
CATALOGUE_SEED = 1
# Query pictures come from another seed, so they show products that the catalogue does not hold.
QUERY_SEED = 20_001
TOP_K = 8
# Of the first five hits, how many must be right for the demo to have worked.
LOOKED_AT, RIGHT_AT_LEAST = 5, 4
START_TIMEOUT_S = 60.0
POLL_S = 0.1

console = Console()


@dataclass(frozen=True, slots=True)
class DemoQuery:
    """A text or a picture, and what its hits must show: metadata fields and their values."""

    wanted: dict[str, str]
    text: str = ""
    picture: Path | None = None

    @property
    def name(self) -> str:
        """How the query is announced."""
        return f"“{self.text}”" if self.text else f"picture {self.picture.name if self.picture else ''}"


TEXT_QUERIES = (
    DemoQuery({"category": "dress", "colour": "red"}, text="a red dress"),
    DemoQuery({"category": "sneakers", "colour": "yellow"}, text="a pair of yellow trainers"),
    DemoQuery({"category": "coat", "colour": "navy"}, text="a navy coat"),
)
PICTURE_KINDS = ("boots", "lamp")


@click.command()
@click.option("--once", is_flag=True, help="Exit after the queries; status 0 only if the answers are right.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=Path("build/demo"), show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=50051, show_default=True, help="0 picks a free one.")
@click.option("--ui-port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="The web page's.")
def demo(once: bool, work: Path, port: int, ui_port: int) -> None:
    """Draw the sample catalogue, index it, serve it, search it, and keep serving until Ctrl-C."""
    catalogue, data = work / "catalogue", work / "data"
    work.mkdir(parents=True, exist_ok=True)
    console.rule("1. The catalogue")
    drawn = write_catalogue(catalogue, CATALOGUE_SIZE, seed=CATALOGUE_SEED)
    console.print(f"{CATALOGUE_SIZE} products in {catalogue}" + ("" if drawn else " (drawn before)"))
    console.rule("2. The index")
    build_index(catalogue, data / "default")
    console.rule("3. The server")
    address = f"127.0.0.1:{free_port(port)}"
    queries = [*TEXT_QUERIES, *picture_queries(work / "queries")]
    serve = ["serve", "--bundle", str(BUNDLE), "--data", str(data), "--imports", str(work), "--listen", address]
    with beside(serve, work / "server.log") as process, Client(address) as client:
        wait_until_ready(client, process, work / "server.log")
        console.print(f"serving on {address}, log in {work / 'server.log'}")
        console.rule("4. The queries")
        rows, right = [], True
        for query in queries:
            hits = ask(client, query)
            right &= is_right(query, hits)
            rows.append(sheet_row(query, hits, catalogue))
        sheet = work / "contact_sheet.png"
        draw_contact_sheet(rows, sheet, "clipsearch: queries and their best hits")
        console.print(f"contact sheet: [bold]{sheet}[/bold]")
        if once:
            console.print("[green]the answers are right[/green]" if right else "[red]some answers are wrong[/red]")
            sys.exit(0 if right else 1)
        console.rule("5. The web page")
        page = f"127.0.0.1:{free_port(ui_port)}"
        show = ["ui", "--server", address, "--listen", page, "--pictures", str(catalogue)]
        with beside([*show, "--uploads", str(work / "uploads")], work / "ui.log") as ui:
            wait_until_listening(page, ui, work / "ui.log")
            console.print(f"the web page: [bold]http://{page}[/bold], log in {work / 'ui.log'}")
            console.print(f"or: [bold]clipsearch search 'green boots' --server {address}[/bold]; Ctrl-C stops both")
            with contextlib.suppress(KeyboardInterrupt):
                sys.exit(process.wait())


def build_index(catalogue: Path, index: Path) -> None:
    """Run ``clipsearch index build``; it shows its own progress, and skips what it finds done."""
    arguments = ["index", "build", str(catalogue / "images"), "--bundle", str(BUNDLE)]
    arguments += ["--metadata", str(catalogue / "metadata.jsonl"), "--out", str(index)]
    subprocess.run([sys.executable, "-m", "clipsearch", *arguments], check=True)


def free_port(wanted: int) -> int:
    """The wanted TCP port, or any for 0, that nobody listens on now; raises ClickException where somebody does."""
    with socket.socket() as probe:
        # As servers do it: a port that was in use a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise click.ClickException(f"port {wanted} cannot be had: {error.strerror}; 0 picks a free one") from error
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def beside(arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a ``clipsearch`` command beside us, logging to ``log``; SIGTERM and a clean end when the block ends."""
    command = [sys.executable, "-m", "clipsearch", *arguments]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_until_ready(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the server to report SERVING; raises ClickException with its last words where it ends instead."""
    for _ in range(int(START_TIMEOUT_S)):
        with contextlib.suppress(DeadlineExceeded):
            client.wait_until_ready(1.0)
            return
        check_alive("the server", process, log)
    raise click.ClickException(f"the server was not ready within {START_TIMEOUT_S:.0f} s; see {log}")


def wait_until_listening(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the web page takes connections; raises ClickException with its last words where it ends instead."""
    host, _, port = address.rpartition(":")
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        check_alive("the web page", process, log)
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
            return
        time.sleep(POLL_S)
    raise click.ClickException(f"the web page was not there within {START_TIMEOUT_S:.0f} s; see {log}")


def check_alive(name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Raise ClickException with the last words of a process where it has ended."""
    if process.poll() is not None:
        raise click.ClickException(f"{name} ended: {log.read_text(errors='replace').strip()[-500:]}")


def picture_queries(directory: Path) -> list[DemoQuery]:
    """Draw one product of each of ``PICTURE_KINDS`` that is not in the catalogue."""
    directory.mkdir(parents=True, exist_ok=True)
    specs = generate_specs(200, QUERY_SEED)
    return [picture_query(next(spec for spec in specs if spec.kind == kind), directory) for kind in PICTURE_KINDS]


def picture_query(spec: ProductSpec, directory: Path) -> DemoQuery:
    """Draw a product and ask for its kind and colour."""
    path = directory / f"{spec.colour}-{spec.kind.replace(' ', '-')}.jpg"
    render(spec).save(path, quality=90)
    return DemoQuery({"category": spec.kind, "colour": spec.colour}, picture=path)


def ask(client: Client, query: DemoQuery) -> Sequence[Hit]:
    """Search, and print the hits as a table."""
    result = client.search(text=query.text or None, image=query.picture, top_k=TOP_K, view="metadata")
    took = result.timings
    table = Table(title=query.name, title_justify="left", caption_justify="left")
    table.caption = (
        f"{took.total_us / 1e3:.1f} ms in the server: preprocess {took.preprocess_us / 1e3:.1f}, "
        f"queue {took.queue_us / 1e3:.1f}, encode {took.encode_us / 1e3:.1f}, search {took.search_us / 1e3:.1f}"
    )
    table.add_column("id")
    table.add_column("title")
    table.add_column("score", justify="right")
    for hit in result.hits:
        table.add_row(hit.id, str((hit.metadata or {})["title"]), f"{hit.score:.3f}")
    console.print(table)
    return result.hits


def is_right(query: DemoQuery, hits: Sequence[Hit]) -> bool:
    """Whether nearly all of the first hits have every wanted property."""
    shown = [hit.metadata or {} for hit in hits[:LOOKED_AT]]
    right = sum(all(hit.get(field) == value for field, value in query.wanted.items()) for hit in shown)
    return right >= RIGHT_AT_LEAST


def sheet_row(query: DemoQuery, hits: Sequence[Hit], catalogue: Path) -> SheetRow:
    """One query and its hits, as the contact sheet draws them."""
    shown = []
    for hit in hits:
        metadata = hit.metadata or {}
        shown.append(SheetHit(catalogue / str(metadata["image"]), str(metadata["title"]), hit.score))
    return SheetRow(shown, text=query.text, picture=query.picture)
