"""What may be in an item, and that whatever passes the checks passes SQLite's too."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.catalogue.items import (
    MAX_METADATA_BYTES,
    MAX_URI_BYTES,
    CheckedItem,
    Item,
    check_id,
    check_items,
    metadata_json,
)
from clipsearch.catalogue.mutations import Upsert
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import BadItemId, BadMetadata, ClipsearchError

from .support import D, apply_one, item, reasons, vector


@pytest.mark.parametrize("item_id", ["", "x" * 257, "ü" * 129, "a\nb", "a\0", "\x7f", "\x85", "\ud800"])
def test_bad_ids(item_id: str) -> None:
    with pytest.raises(BadItemId):
        check_id(item_id)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=64))
def test_printable_unicode_is_an_id(item_id: str) -> None:
    check_id(item_id)


@pytest.mark.parametrize(
    "metadata",
    [{"x": float("nan")}, {"x": object()}, {"x": "y" * MAX_METADATA_BYTES}, {"x": "\ud800"}, {1: 0, "x": 1}],
)
def test_bad_metadata(metadata: dict[str, object]) -> None:
    with pytest.raises(BadMetadata):
        metadata_json(metadata)


def test_equal_metadata_is_the_same_text() -> None:
    assert metadata_json({"b": [1, {"z": 0, "y": 1}], "a": "ü"}) == '{"a":"ü","b":[1,{"y":1,"z":0}]}'


BAD_TEXTS = [
    "",
    "{",
    "[]",
    "1",
    "null",
    '"x"',
    '{"x":NaN}',
    '{"x":1e999}',
    '{"x":"\\ud800"}',
    "{'x':1}",
    '{"x":' + "[" * 30_000 + "]" * 30_000 + "}",
    '{"x":"' + "y" * MAX_METADATA_BYTES + '"}',
    '{"x":' + "9" * 5_000 + "}",
]


@pytest.mark.parametrize("metadata", BAD_TEXTS, ids=range(len(BAD_TEXTS)))
def test_bad_metadata_texts_are_the_items_own_error(writer: CatalogueWriter, metadata: str) -> None:
    applied = apply_one(writer, Upsert([item("a"), Item("b", metadata, vector(1)), item("c")]))
    assert reasons(applied) == ["CREATED", "METADATA_NOT_USABLE", "CREATED"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.booleans())
def test_what_is_accepted_is_stored(value: dict[str, object], ascii_only: bool) -> None:
    """SQLite has a JSON parser of its own, which must never refuse what ours has let through."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    (checked,) = check_items([Item("a", text, vector(1))], D)
    with closing(sqlite3.connect(":memory:")) as connection:
        if isinstance(checked, CheckedItem):
            select = "SELECT json_type(?1), json_valid(?1)"
            assert connection.execute(select, (checked.metadata,)).fetchone() == ("object", 1)
            assert json.loads(checked.metadata) == value
        else:
            assert isinstance(checked, BadMetadata)


def bad_vectors() -> dict[str, Item]:
    nan, inf = vector(1), vector(1)
    nan[3], inf[3] = np.nan, -np.inf
    return {
        "nan": Item("nan", "{}", nan),
        "inf": Item("inf", "{}", inf),
        "zero": Item("zero", "{}", np.array([0, -0.0] * (D // 2), dtype=np.float16)),
        "short": Item("short", "{}", np.ones(D - 1, dtype=np.float16)),
        "matrix": Item("matrix", "{}", np.ones((1, D), dtype=np.float16)),
    }


def test_each_item_has_its_own_error_and_the_rest_is_checked() -> None:
    bad = bad_vectors()
    items = [item("a"), *bad.values(), item("a"), item("b"), item(""), Item("u", "{}", vector(2), uri="\ud800")]
    items += [Item("v", "{}", vector(2), uri="x" * (MAX_URI_BYTES + 1)), Item("keep", "{}", None)]
    checked = check_items(items, D)
    assert [found.id if isinstance(found, CheckedItem) else found.reason for found in checked] == [
        "a",
        "VECTOR_NOT_USABLE",
        "VECTOR_NOT_USABLE",
        "VECTOR_NOT_USABLE",
        "VECTOR_WRONG_DIMENSION",
        "VECTOR_WRONG_DIMENSION",
        "ID_DUPLICATE",
        "b",
        "ID_NOT_USABLE",
        "INVALID_INPUT",
        "INVALID_INPUT",
        "keep",
    ]
    assert all(found.field for found in checked if isinstance(found, ClipsearchError))


def test_embeddings_become_little_endian_float16_whatever_they_were() -> None:
    wide = vector(3)
    for given_as in (wide, wide.astype(">f2"), wide.astype(np.float32), wide.repeat(2)[::2]):
        (found,) = check_items([Item("a", "{}", given_as)], D)
        assert isinstance(found, CheckedItem)
        assert found.embedding == wide.astype("<f2").tobytes()


def test_a_number_that_float16_cannot_hold_is_refused() -> None:
    (found,) = check_items([Item("a", "{}", np.full(D, 1e6, dtype=np.float32))], D)
    assert isinstance(found, ClipsearchError) and found.reason == "VECTOR_NOT_USABLE"


def test_no_items_are_no_problem(tmp_path: Path) -> None:
    assert check_items([], D) == []
