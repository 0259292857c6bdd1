"""docs/cli.md: every verb of the command line and its options, as ``--help`` has them."""

from collections.abc import Iterator

import click

from clipsearch.cli.options import settings_options
from clipsearch.cli.shell import VERBS, shell


def cli_reference() -> str:
    """Return the whole reference as Markdown, headings from the second level on. Imports every verb."""
    lines = ["| verb | | needs the extra |", "| --- | --- | --- |"]
    lines += [f"| [{name}](#clipsearch-{name}) | {verb.summary} | `{verb.extra}` |" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", *(_section(ctx) for ctx in commands() if ctx.parent is not None)])


def commands() -> Iterator[click.Context]:
    """Walk the tree of commands, groups before what is in them; each with a context that knows how it is called."""
    yield from _walk(click.Context(shell, info_name="clipsearch", **shell.context_settings))


def _walk(ctx: click.Context) -> Iterator[click.Context]:
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, name)
            assert command is not None
            yield from _walk(click.Context(command, info_name=name, parent=ctx, **command.context_settings))


def _section(ctx: click.Context) -> str:
    command = ctx.command
    lines = [f"## {ctx.command_path}", "", *_paragraphs(command.help or "")]
    if isinstance(command, click.Group):
        return "\n".join(lines)
    lines += ["```text", " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)]), "```", ""]
    rows = [record for option in _own_options(command) if (record := option.get_help_record(ctx))]
    if rows:
        lines += ["| option | meaning |", "| --- | --- |"]
        lines += [f"| `{_cell(names)}` | {_cell(' '.join(text.split()))} |" for names, text in rows]
        lines.append("")
    if takes_settings(command):
        lines += ["Each [setting](settings.md) is an option as well.", ""]
    return "\n".join(lines)


def _own_options(command: click.Command) -> list[click.Option]:
    """The options but for those that are settings, which have a page of their own."""
    skipped = _settings() if takes_settings(command) else set()
    return [one for one in command.params if isinstance(one, click.Option) and one.name not in skipped]


def takes_settings(command: click.Command) -> bool:
    """Whether each setting is an option of this command."""
    return _settings() <= {one.name for one in command.params}


def _settings() -> set[str | None]:
    @settings_options
    def none() -> None:
        """Nothing but a place for the options."""

    return {one.name for one in click.command()(none).params}


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield " ".join(paragraph.split())
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
