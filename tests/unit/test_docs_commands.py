"""Commands, settings and code in the guides are those that exist."""

import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from clipsearch.settings import Settings
from docs.generator.cli import commands
from tests.unit.docs_blocks import GUIDES, ROOT, Block, blocks, name_of, spans

SHELL = blocks("sh", "console")


@cache
def contexts() -> dict[str, click.Context]:
    return {ctx.command_path: ctx for ctx in commands()}


def command_lines(block: Block) -> Iterator[str]:
    """The commands of a block: all lines of `sh`, those after `$` of `console`; continued lines joined."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if block.language == "sh":
            yield line
        elif line.startswith("$ "):
            yield line.removeprefix("$ ")


def words_of(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*|sudo|nohup|exec", words[0]):
        words = words[1:]
    return words


def simple_commands(block: Block) -> Iterator[list[str]]:
    """The words of each command, pipes and lists taken apart."""
    for line in command_lines(block):
        words: list[str] = []
        for word in words_of(line):
            if word in {"|", "&&", "||", ";", "&"}:
                yield words
                words = []
            else:
                words.append(word)
        if words:
            yield words


CLIPSEARCH = [
    pytest.param(words[1:], id=f"{block}: {' '.join(words)}")
    for block in SHELL
    for words in simple_commands(block)
    if words[0] == "clipsearch"
]


def resolve(words: list[str]) -> tuple[click.Context, list[str]]:
    """The command that the first words name, and the rest of them."""
    path, rest = "clipsearch", words
    while rest and f"{path} {rest[0]}" in contexts():
        path, rest = f"{path} {rest[0]}", rest[1:]
    return contexts()[path], rest


@pytest.mark.parametrize("words", CLIPSEARCH)
def test_a_command_line_can_be_parsed(words: list[str]) -> None:
    context, rest = resolve(words)
    assert not isinstance(context.command, click.Group) or rest in ([], ["--help"], ["--version"]), "no such verb"
    rest = list(itertools.takewhile(lambda word: not re.match(r"[12]?>", word), rest))
    values, left_over, _ = context.command.make_parser(context).parse_args(rest)
    assert left_over == []
    for parameter in context.command.params:
        value = values.get(parameter.name or "")
        if isinstance(parameter, click.Argument) and parameter.required and "--help" not in rest:
            assert value, f"{parameter.name} is missing"
        if value is not None and not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, value)
        if parameter.required and "--help" not in rest:
            assert value is not None, f"{parameter.name} is missing"


def test_there_are_command_lines() -> None:
    assert len(CLIPSEARCH) > 20


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_commands_in_the_text_exist(page: Path) -> None:
    for span in spans(page):
        if re.match(r"clipsearch (?!VERB|--)", span):
            context, rest = resolve(span.split()[1:])
            assert context.parent is not None, f"no such verb: {span}"
            known = {name for parameter in context.command.params for name in parameter.opts}
            used = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", " ".join(rest)))
            assert used <= known, f"no such option: {span}"


@pytest.fixture(name="options", scope="module")
def _options() -> set[str]:
    """All options of the command line, and of the scripts and tools of this repository."""
    known = {
        name
        for ctx in contexts().values()
        for parameter in ctx.command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    scripts = [file for top in ("benchmarks", "tests", "demo") for file in (ROOT / top).rglob("*.py")]
    return known.union(*(re.findall(r'"(--[a-z][a-z-]*)"', file.read_text(encoding="utf-8")) for file in scripts))


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_options_in_the_text_exist(page: Path, options: set[str]) -> None:
    used = {name for span in spans(page) for name in re.findall(r"^--[a-z][a-z-]*", span)}
    assert used <= options | {"--help", "--version", "--debug"}


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_scripts_and_targets_exist(block: Block) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in simple_commands(block):
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets
        elif words[0].startswith("python") and words[1:2] == ["-m"]:
            assert find_spec(words[2]), f"there is no module {words[2]}"
        elif words[0].startswith("python") and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file()


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_settings_in_a_file_exist(block: Block) -> None:
    given = tomllib.loads(block.text)
    assert given.keys() <= Settings.model_fields.keys()
    assert Settings(**{"bundle": "bundle", **given})


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")
