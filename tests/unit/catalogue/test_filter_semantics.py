"""What filters mean: SQLite's answers against an evaluator in plain Python, which knows neither parser nor SQL."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.catalogue.items import metadata_json

Metadata = dict[str, object]
Predicate = Callable[[Metadata], bool]

NAMES = ("a", "b", "größe", "odd name", "and", "a.b", "'", "$", "0", "a[0]", "; DROP TABLE items --")
MISSING = object()


def answer(text: str, metadata: Metadata) -> int | None:
    """SQLite's answer for one row: 1, 0, or NULL where the three-valued trap snapped."""
    compiled = compile_filter(text)
    select = f"SELECT {compiled.sql} FROM (SELECT ? AS metadata)"
    with closing(sqlite3.connect(":memory:")) as database:
        result: int | None = database.execute(select, (*compiled.parameters, metadata_json(metadata))).fetchone()[0]
    return result


def lookup(metadata: object, path: tuple[str, ...]) -> object:
    for name in path:
        if not isinstance(metadata, dict) or name not in metadata:
            return MISSING
        metadata = metadata[name]
    return metadata


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: object) -> int | float:
    """As documented: exact within 64 bits, a float beyond."""
    assert isinstance(value, int | float)
    return value if isinstance(value, float) or -(2**63) <= value < 2**63 else float(value)


def equal(stored: object, value: object) -> bool:
    if is_number(stored) and is_number(value):
        return number(stored) == number(value)
    return type(stored) is type(value) and stored == value and not is_number(value)


def has(stored: object, value: object) -> bool:
    if isinstance(stored, list):
        return any(equal(element, value) for element in stored)
    if isinstance(stored, dict):
        return isinstance(value, str) and value in stored
    return equal(stored, value)


def ordered(stored: object, operator: str, value: object) -> bool:
    if is_number(stored) and is_number(value):
        left, right = number(stored), number(value)
    elif isinstance(stored, str) and isinstance(value, str):
        left, right = stored, value  # type: ignore[assignment]
    else:
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


# SQLite's JSON functions end a text at U+0000, so an order beyond it is not promised.
TEXTS = st.text(st.sampled_from("ab\"'\\%_;*é裙😀\u2028\x7f\x01\n{}[],:"), max_size=4)
NUMBERS = st.one_of(
    st.sampled_from((0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**25)),
    st.sampled_from((0.0, 1.0, 0.1, 0.30000000000000004, 9007199254740993.0, 5e-324, 1.7976931348623157e308, 1e25)),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | TEXTS, inner, max_size=3),
    max_leaves=5,
)
METADATA = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3)
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2).map(tuple)
SPACE = st.sampled_from(("", " ", "\n\t "))


def write_value(draw: st.DrawFn, value: object) -> str:
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    if isinstance(value, str) and draw(st.booleans()):
        return "'" + text[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
    return text


def subjects(metadata: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Paths that lead somewhere, each with values that a filter could find there."""
    if isinstance(metadata, dict):
        for name, value in metadata.items():
            if path:
                yield path, name
            if name in NAMES:
                yield from subjects(value, (*path, name))
    elif isinstance(metadata, list):
        yield from ((path, element) for element in metadata if not isinstance(element, dict | list))
    else:
        yield path, metadata


@st.composite
def terms(draw: st.DrawFn, found: list[tuple[tuple[str, ...], object]]) -> tuple[str, Predicate]:
    # Mostly about what is in the metadata: of two things drawn apart hardly any would meet.
    path, value = draw(st.sampled_from(found)) if found and draw(st.integers(0, 5)) else draw(st.tuples(PATHS, SCALARS))
    values = st.sampled_from([value for _, value in found]) | SCALARS if found else SCALARS
    if draw(st.integers(0, 3)) == 0:
        value = draw(values)
    space = draw(SPACE)
    field = ".".join(name if name in "ab" or name == "größe" else write_value(draw, name) for name in path)
    written = write_value(draw, value)
    kinds = ["=", "!=", "IN", ":", ":*"]
    if isinstance(value, str) or is_number(value):
        kinds += ["<", "<=", ">", ">="]
    kind = draw(st.sampled_from(kinds))
    if kind == "=":
        return f"{field}{space}={space}{written}", lambda metadata: equal(lookup(metadata, path), value)
    if kind == "!=":
        return f"{field}{space}!={space}{written}", lambda metadata: not equal(lookup(metadata, path), value)
    if kind == "IN":
        more = [value, *draw(st.lists(values, max_size=3))]
        listed = f"{space},{space}".join(write_value(draw, one) for one in more)
        return f"{field} IN{space}({listed})", lambda metadata: any(equal(lookup(metadata, path), v) for v in more)
    if kind == ":":
        return f"{field}{space}:{space}{written}", lambda metadata: has(lookup(metadata, path), value)
    if kind == ":*":
        return f"{field}:{space}*", lambda metadata: lookup(metadata, path) is not MISSING
    return f"{field}{space}{kind}{space}{written}", lambda metadata: ordered(lookup(metadata, path), kind, value)


def combinations(inner: st.SearchStrategy[tuple[str, Predicate]]) -> st.SearchStrategy[tuple[str, Predicate]]:
    @st.composite
    def build(draw: st.DrawFn) -> tuple[str, Predicate]:
        parts = draw(st.lists(inner, min_size=1, max_size=3))
        texts, predicates = [f"({text})" for text, _ in parts], [predicate for _, predicate in parts]
        kind = draw(st.sampled_from(("NOT ", "-", " AND ", " ", " OR ")))
        if kind in ("NOT ", "-"):
            return kind + texts[0], lambda metadata: not predicates[0](metadata)
        if kind == " OR ":
            return kind.join(texts), lambda metadata: any(holds(metadata) for holds in predicates)
        return kind.join(texts), lambda metadata: all(holds(metadata) for holds in predicates)

    return build()


@st.composite
def questions(draw: st.DrawFn) -> tuple[Metadata, str, Predicate]:
    """Metadata, and a filter with what it should say about them."""
    metadata = draw(METADATA)
    text, predicate = draw(st.recursive(terms(list(subjects(metadata))), combinations, max_leaves=3))
    return metadata, text, predicate


@given(questions())
@settings(deadline=None, max_examples=300)
def test_sqlite_answers_as_plain_python_does(question: tuple[Metadata, str, Predicate]) -> None:
    metadata, text, predicate = question
    assert answer(text, metadata) == int(predicate(metadata)), (text, metadata)
    assert answer(f"NOT ({text})", metadata) == int(not predicate(metadata)), (text, metadata)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**300), 10**300))
@example(-2.2606631148481385e-299)  # SQLite 3.40 reads it as another float where it casts than where it parses JSON
def test_every_number_equals_itself(value: float) -> None:
    for text in (f"a = {value}", f"a <= {value}", f"a IN ({value}, 'x')", f"a:{value}", f"NOT a < {value}"):
        assert answer(text, {"a": value}) == 1


@given(questions())
@settings(deadline=None, max_examples=150)
def test_the_canonical_text_is_a_filter_of_the_same_meaning_and_its_own_canonical_text(
    question: tuple[Metadata, str, Predicate],
) -> None:
    metadata, text, _ = question
    canonical = compile_filter(text).text
    assert compile_filter(canonical) is compile_filter(text)
    assert answer(canonical, metadata) == answer(text, metadata)


@given(TEXTS, TEXTS)
@example("a' OR '1'='1", '" OR 1=1 --')
@example("$.b", '"b":1')
@example("?", "@")
def test_no_value_becomes_sql_or_a_path(stored: str, asked: str) -> None:
    for text in (f"a = {json.dumps(asked)}", f"a:{json.dumps(asked)}", f"a IN ({json.dumps(asked)}, 0)"):
        assert answer(text, {"a": stored, "b": 1}) == (stored == asked)
        assert json.dumps(asked) not in compile_filter(text).sql


@pytest.mark.parametrize("name", ["a')", "x') OR 1=1 --", "$", "*", "#-1", "a.b", "a[0]", "@", "?", "日本", "?1", "e"])
def test_no_field_name_becomes_sql_or_a_path(name: str) -> None:
    text = f'"{name}" = 1'
    assert answer(text, {name: 1}) == 1
    assert answer(text, {"a": {"b": 1}, "x": 1, "other": [1]}) == 0
    assert compile_filter(text).sql == compile_filter("a = 1").sql


@pytest.mark.parametrize(
    ("text", "metadata", "expected"),
    [
        ("NOT price < 50", {}, 1),
        ("price != 50", {}, 1),
        ("price:* AND price != 50", {}, 0),
        ("price < 50", {"price": "12"}, 0),
        ("price > 50", {"price": "12"}, 0),
        ("price > 50", {"price": [99]}, 0),
        ("price = 1", {"price": True}, 0),
        ("price >= 0", {"price": True}, 0),
        ("sold = true", {"sold": 1}, 0),
        ("price = null", {}, 0),
        ("price = null", {"price": None}, 1),
        ("price:*", {"price": None}, 1),
        ("price = 3", {"price": 3.0}, 1),
        ("id = 9007199254740993", {"id": 2**53 + 1}, 1),
        ("id = 9007199254740993", {"id": 2**53}, 0),
        ("id > 9007199254740992", {"id": 2**53 + 1}, 1),
        ("id = 9223372036854775807", {"id": 2**63 - 2}, 0),
        ('tags = "summer"', {"tags": ["summer"]}, 0),
        ("tags = '[\"summer\"]'", {"tags": ["summer"]}, 0),
        ('tags:"summer"', {"tags": ["summer", 1]}, 1),
        ('tags:"sum"', {"tags": ["summer"]}, 0),
        ("tags:1", {"tags": [True]}, 0),
        ('tags:"summer"', {"tags": [["summer"]]}, 0),
        ('tags:"[1]"', {"tags": [[1]], "title": "[1]"}, 0),
        ('tags:"a"', {"tags": ["b"], "title": "a"}, 0),
        ('size:"eu"', {"size": {"eu": None}}, 1),
        ('size:"38"', {"size": {"eu": "38"}}, 0),
        ("size.eu:*", {"size": "eu"}, 0),
        ("name = 'Zoë'", {"name": "Zoe\u0308"}, 0),
        ('name < "b"', {"name": "B"}, 1),
        ('name > "z"', {"name": "é"}, 1),
        ('name = "a"', {"name": "a\x00b"}, 0),
    ],
)
def test_the_cases_that_are_easily_got_wrong(text: str, metadata: Metadata, expected: int) -> None:
    assert answer(text, metadata) == expected
