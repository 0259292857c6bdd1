"""The ``clipsearch`` group: a table of verbs, imported when called, and the one place that words a failure.

``clipsearch --help`` reads the table alone, so it is as fast as click itself, and ``serve`` never pays for (or needs)
the libraries of ``export``. The alternative, one module that imports every command, costs seconds and every extra.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from clipsearch import __version__
from clipsearch.errors import ClipsearchError


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb's command lives (``module:attribute``), its line in the help, and the extra that it needs."""

    target: str
    summary: str
    extra: str


VERBS: Mapping[str, Verb] = {
    "export": Verb("clipsearch_export.command:export", "Turn a CLIP checkpoint into an ONNX bundle.", "export"),
    "index": Verb("clipsearch.cli.index:index", "Build an index of pictures or vectors, or describe one.", "cpu"),
    "serve": Verb("clipsearch.cli.serve:serve", "Serve a bundle, and an index if given, over gRPC.", "cpu"),
    "search": Verb("clipsearch.cli.search:search", "Ask a server for what is nearest to a text or picture.", "cli"),
    "health": Verb("clipsearch.cli.health:health", "Ask a server whether it serves.", "cli"),
    "top": Verb("clipsearch.cli.top:top", "Watch a server: rates, latencies, lanes, collections.", "cli"),
    "embed": Verb("clipsearch.cli.embed:embed", "Embed pictures or lines of text into a file.", "cli"),
    "ingest": Verb("clipsearch.cli.ingest:ingest", "Bring pictures and catalogues into a collection.", "cli"),
    "import": Verb("clipsearch.cli.load:import_items", "Have a server load items that lie beside it.", "cli"),
    "dump": Verb("clipsearch.cli.dump:dump", "Have a server write a collection to a Parquet file.", "cli"),
    "snapshot": Verb("clipsearch.cli.snapshot:snapshot", "Have a server copy its collections.", "cli"),
    "reload": Verb("clipsearch.cli.model:reload", "Have a server serve another bundle of its weights.", "cli"),
    "reembed": Verb("clipsearch.cli.model:reembed", "Move a server's collections to another model.", "cli"),
    "restore": Verb("clipsearch.cli.storage:restore", "Put collections of a snapshot into a data directory.", "cpu"),
    "verify": Verb("clipsearch.cli.storage:verify", "Check every collection of a data directory.", "cpu"),
    "keys": Verb("clipsearch.cli.keys:keys", "Make, list and revoke API keys for a server.", "cli"),
    "ui": Verb("clipsearch_demo.ui.command:ui", "Serve a web page to search a server.", "demo"),
    "demo": Verb("clipsearch_demo.demo:demo", "Run the sample catalogue and model end to end.", "demo"),
}

_CALLED = "clipsearch.verb"
"""Key of the context's notes: the verb being called, known also when its import is what fails."""


class LazyGroup(click.Group):
    """Resolves a verb by importing it, and turns what goes wrong into one sentence and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which one meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's command; None where there is no such verb."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        ctx.meta[_CALLED] = verb
        module, attribute = verb.target.split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help's list from the table, without importing any verb."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; unless ``--debug`` is given, a failure becomes one sentence on stderr and exit status 1."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            raise click.ClickException(sentence(error, ctx.meta.get(_CALLED))) from error


def sentence(error: Exception, verb: Verb | None) -> str:
    """Word an error for a person: what our own errors say, which extra is missing, or where to look further."""
    # Imported here because it brings in grpc, which the verbs that run without a server do not need.
    from clipsearch.client.errors import ClientError

    if isinstance(error, ClipsearchError | ClientError | OSError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and verb and not (error.name or "").startswith("clipsearch"):
        install = f"pip install 'clipsearch[{verb.extra}]'"
        return f"this needs the {verb.extra} extra: {install} ({error.name} is not installed)."
    return f"unexpected {type(error).__name__}: {error} (`clipsearch --debug …` shows where)"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback when a command fails.")
@click.version_option(__version__, prog_name="clipsearch")
def shell(debug: bool) -> None:
    """CLIP inference and visual search over gRPC."""
