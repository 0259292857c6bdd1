"""Reading filters: canonical text, positions of mistakes, limits, and what the documentation promises."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsearch.catalogue.filters import compile as limits
from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.errors import FilterTooComplex, MalformedFilter

PAGE = (Path(__file__).parents[3] / "docs/filters.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("a=1", "a = 1"),
        ("\n a  =\t1.0 ", "a = 1"),
        ("((a = 1e0))", "a = 1"),
        ('"a"=1', "a = 1"),
        ("'odd name'.x:*", '"odd name".x:*'),
        ('"AND" = 1 AND "True" = 2', '"AND" = 1 AND "True" = 2'),
        ("größe_2 = -0.0", "größe_2 = 0"),
        (r"a = 'it\'s \"so\"'", r'a = "it' + "'" + r's \"so\""'),
        (r'a = "\u0061\/\ud83d\ude00\n"', r'a = "a/😀\n"'),
        ("a != true", "NOT a = true"),
        ("-a:null", "NOT a:null"),
        ("NOT NOT a < 2", "a < 2"),
        ("b = 2 a = 1", "a = 1 AND b = 2"),
        ("b = 2 AND (a = 1 AND b = 2)", "a = 1 AND b = 2"),
        ("a = 1 -b = 2", "NOT b = 2 AND a = 1"),
        ("a IN (2, true, 1, 2.0)", "a IN (1, 2, true)"),
        ("a IN (1)", "a = 1"),
        ("a = 2 OR (a = 1 OR a IN (2, 3)) OR b:*", "a IN (1, 2, 3) OR b:*"),
        ("a = 2 OR a = 2", "a = 2"),
        ("(a < 1 OR b < 1) AND c < 1", "(a < 1 OR b < 1) AND c < 1"),
        ("NOT (a < 1 b < 1)", "NOT (a < 1 AND b < 1)"),
        ("a = 9007199254740993", "a = 9007199254740993"),
        ("a = 1e25", "a = 1e+25"),
    ],
)
def test_equal_filters_have_one_canonical_text_and_one_compiled_form(text: str, canonical: str) -> None:
    assert compile_filter(text).text == canonical
    assert compile_filter(text) is compile_filter(canonical)


def test_one_and_true_are_not_taken_for_each_other() -> None:
    """In Python they are equal and hash alike, which caches and sets fall for."""
    assert compile_filter("a = 1 OR a = true").text == "a IN (1, true)"
    assert compile_filter("a:1").parameters != compile_filter("a:true").parameters
    assert compile_filter("a:1 AND a:true").text == "a:1 AND a:true"


def test_a_filter_knows_its_fields() -> None:
    compiled = compile_filter('size.eu > 38 AND NOT (colour = "red" OR "odd name":*)')
    assert compiled.fields == {"size.eu", "colour", '"odd name"'}


VALUE = "a value (a text in quotes, a number, true, false or null)"
OPERATOR = "an operator (=, !=, <, <=, >, >=, : or IN)"


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "found the end of the filter, expected a condition"),
        ("  ", 2, "found the end of the filter, expected a condition"),
        ("price", 5, f"found the end of the filter, expected {OPERATOR}"),
        ("price <", 7, f"found the end of the filter, expected {VALUE}"),
        ("colour = red", 9, f"found `red`, expected {VALUE}"),
        ("tags:summer", 5, f"found `summer`, expected {VALUE} or *"),
        ("price < < 3", 8, f"found `<`, expected {VALUE}"),
        ("price == 3", 7, f"found `=`, expected {VALUE}"),
        ("price = - 3", 8, f"found `-`, expected {VALUE}"),
        ("price-eu = 3", 5, f"found `-`, expected {OPERATOR}"),
        ("3 = price", 0, "found `3`, expected a condition"),
        ("a..b = 1", 2, "found `.`, expected a field name"),
        ("größe = 1 & b = 2", 10, "found `&`, expected AND, OR or the end of the filter"),
        ("a = '😀' ; b = 2", 8, "found `;`, expected AND, OR or the end of the filter"),
        ("a = 1)", 5, "found `)`, expected the end of the filter"),
        ("(a = 1", 6, "found the end of the filter, expected a closing parenthesis"),
        ("NOT", 3, "found the end of the filter, expected a condition"),
        ("a = 1 AND", 9, "found the end of the filter, expected a condition"),
        ("a IN 1", 5, "found `1`, expected an opening parenthesis"),
        ("a IN ()", 6, f"found `)`, expected {VALUE}"),
        ("a IN (1 2)", 8, "found `2`, expected a comma or a closing parenthesis"),
        ("a = 1 AND b = 2 OR c = 3", 16, "AND and OR side by side need parentheses"),
        ("a = 1 OR b = 2 AND c = 3", 15, "AND and OR side by side need parentheses"),
        ("a = 1 b = 2 OR c = 3", 12, "AND and OR side by side need parentheses"),
        ("a = 1 OR b = 2 c = 3", 15, "AND and OR side by side need parentheses"),
        ("a = 1 and b = 2", 6, "AND is written in capitals"),
        ("a = 5kg", 4, "`5kg` is not a number"),
        ("day > 2024-01-01", 6, "`2024-01-01` is not a number"),
        ("a = 007", 4, "`007` is not a number"),
        ("a = 1e999", 4, "the number is too large"),
        (f"a = {'9' * 5000}", 4, "the number is too large"),
        ("a = 'x", 4, "the text that begins here has no closing quote"),
        (r"a = 'xy\z'", 7, r"`\z` is not an escape"),
        (r'a = "\ud83d"', 5, r"`\ud83d` is not an escape"),
        ("a = '\ud83d'", 5, "half of a surrogate pair"),
        ("a < true", 4, "true, false and null have no order"),
        ('a."" = 1', 2, "a field name cannot be empty"),
        (r'"a\"b" = 1', 0, "a field name cannot hold double quotes"),
        (f"{'x' * 50}!", 50, "found `!`"),
        (f"a = {'x' * 50}", 4, f"found `{'x' * 40}…`"),
    ],
)
def test_a_mistake_is_named_with_its_position(text: str, position: int, message: str) -> None:
    with pytest.raises(MalformedFilter) as caught:
        compile_filter(text)
    assert message in caught.value.message
    assert f"position {position}:" in caught.value.message
    assert caught.value.metadata == {"position": str(position)}
    assert (caught.value.field, caught.value.reason) == ("filter", "FILTER_MALFORMED")


def nested(depth: int) -> str:
    text = 'tags:"deep"'
    for level in range(depth):
        text = f"(a = 1 {'AND' if level % 2 else 'OR'} {text})"
    return text


@pytest.mark.parametrize(
    ("largest", "too_large", "limit"),
    [
        (f"a = '{'é' * 4093}'", f"a = '{'é' * 4093}' ", limits.MAX_BYTES),
        ("(" * 4000 + "a = 1" + ")" * 4000, "(" * 4100 + "a = 1" + ")" * 4100, limits.MAX_BYTES),
        (nested(limits.MAX_DEPTH), nested(limits.MAX_DEPTH + 1), limits.MAX_DEPTH),
        ("NOT " * 20 + "a = 1", "NOT " * 2000 + "a = 1", limits.MAX_DEPTH),
        (
            " OR ".join(f"NOT f{n}:{n}.5" for n in range(limits.MAX_TERMS)),
            " ".join(f"f{n}:{n}.5" for n in range(limits.MAX_TERMS + 1)),
            limits.MAX_TERMS,
        ),
        (
            f"a IN ({','.join(map(str, range(limits.MAX_LIST_VALUES)))})",
            f"a IN ({','.join(['7'] * (limits.MAX_LIST_VALUES + 1))})",
            limits.MAX_LIST_VALUES,
        ),
        (".".join("a" * limits.MAX_SEGMENTS) + ":*", ".".join("a" * (limits.MAX_SEGMENTS + 1)) + ":*", 16),
    ],
    ids=["bytes", "parentheses", "depth", "negations", "comparisons", "list", "path"],
)
def test_limits(largest: str, too_large: str, limit: int) -> None:
    compiled = compile_filter(largest)
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"SELECT {compiled.sql} FROM (SELECT '{{}}' AS metadata)", compiled.parameters).fetchone()
    with pytest.raises(FilterTooComplex) as caught:
        compile_filter(too_large)
    assert caught.value.metadata["limit"] == str(limit)
    assert int(caught.value.metadata["found"]) > limit
    assert (caught.value.field, caught.value.reason) == ("filter", "FILTER_TOO_COMPLEX")


@given(st.text(st.sampled_from("ab .:=<>!-(),*'\"\\1\nANDORTI😀")) | st.text())
@settings(deadline=None, max_examples=300)
@example("a IN (")
@example("a = 1 OR (b = 2 ")
def test_any_text_is_a_filter_or_is_refused_as_one(text: str) -> None:
    try:
        compiled = compile_filter(text)
    except (MalformedFilter, FilterTooComplex) as error:
        assert 0 <= int(error.metadata.get("position", 0)) <= len(text)
    else:
        assert compile_filter(compiled.text) is compiled


def test_every_example_of_the_documentation_compiles() -> None:
    examples = [line for block in re.findall(r"```filter\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    # The first cell of a table's row is an example, unless it is a word of the language alone.
    examples += [cell for cell in re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE) if " " in cell or ":" in cell]
    assert len(examples) > 20
    for text in examples:
        compile_filter(text)


def test_the_documentation_tells_the_limits() -> None:
    for limit in ("MAX_BYTES", "MAX_TERMS", "MAX_DEPTH", "MAX_LIST_VALUES", "MAX_SEGMENTS"):
        assert re.search(rf"\| {getattr(limits, limit):,} \|$", PAGE, re.MULTILINE), limit
