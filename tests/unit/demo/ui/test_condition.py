"""Conditions that the server's own parser takes for what was ticked, whatever stands in the values."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.catalogue.filters.grammar import parse
from clipsearch.catalogue.filters.tree import OneOf, terms_with_depth
from clipsearch_demo.ui.condition import all_of, any_of, between

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (any_of("colour", []), ""),
        (any_of("colour", ["red"]), 'colour:"red"'),
        (any_of("colour", ["red", 'o"r']), '(colour:"red" OR colour:"o\\"r")'),
        (any_of('"care label".wash', [30, 40.5]), '("care label".wash:30 OR "care label".wash:40.5)'),
        (any_of("sold", [True]), "sold = true"),
        (between("price", None, None), ""),
        (between("price", 5, None), "price >= 5"),
        (between("price", 5, 9.5), "price >= 5 AND price <= 9.5"),
        (all_of(["", "a = 1", "", "(b:1 OR b:2)"]), "a = 1 AND (b:1 OR b:2)"),
    ],
)
def test_conditions(condition: str, text: str) -> None:
    assert condition == text
    if text:
        parse(text)


@given(st.lists(TEXTS | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9), min_size=1, max_size=5))
def test_values_are_read_back_as_they_are(values: list[str | bool | int | float]) -> None:
    tree = parse(all_of([any_of("colour", values), between("price", 1, 2)]))
    terms = [term for term, _ in terms_with_depth(tree)]
    asked = [value for term in terms for value in (term.values if isinstance(term, OneOf) else [term.value])]
    assert sorted(map(written, asked)) == sorted(map(written, [*values, 1, 2]))
    assert {str(term.field) for term in terms} == {"colour", "price"}


def written(value: str | bool | int | float) -> str:
    """A value as text; filters take a whole float for the integer that it equals."""
    return repr(int(value)) if isinstance(value, float) and value.is_integer() else repr(value)


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        any_of("price", [float("nan")])
    assert json.loads(any_of("price", [0.1]).split(":")[1]) == 0.1
