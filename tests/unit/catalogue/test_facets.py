"""Facets: the counts are those of filters, whatever was written and deleted before."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipsearch.catalogue.facets import counts, tally
from clipsearch.catalogue.facets.tally import MAX_FIELDS
from clipsearch.catalogue.facets.values import MAX_TEXT, Facets, FacetValue, FieldFacet
from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.catalogue.filters.tree import Field
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Delete, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import Cancelled, CollectionNotFound, TooManyFields
from tests.unit.catalogue.support import apply_one, item


@pytest.fixture
def reader(writer: CatalogueWriter, tmp_path: Path) -> Iterator[CatalogueReader]:
    with CatalogueReader(tmp_path) as opened:
        yield opened


def write(writer: CatalogueWriter, *items: Item) -> None:
    apply_one(writer, Upsert(items))


def facets(reader: CatalogueReader, *names: str, only: str = "", limit: int = 20) -> Facets:
    condition = compile_filter(only) if only else None
    return reader.facets.facets(condition, [tuple(name.split(".")) for name in names], limit, lambda: None)


def field(reader: CatalogueReader, name: str, **options: object) -> FieldFacet:
    return facets(reader, name, **options).fields[tuple(name.split("."))]  # type: ignore[arg-type]


def counted(facet: FieldFacet) -> list[tuple[object, int]]:
    return [(value.value, value.count) for value in facet.values]


def found(reader: CatalogueReader, condition: str) -> int:
    return len(reader.list_page(None, 10_000, compile_filter(condition)).items)


def test_values_are_counted_by_item_most_common_first(writer: CatalogueWriter, reader: CatalogueReader) -> None:
    for n, colour in enumerate(["red", "blue", "red", "green", "blue", "red"]):
        write(writer, item(f"i{n}", n, colour=colour))
    assert field(reader, "colour") == FieldFacet(
        items=6,
        values=[FacetValue("red", 3), FacetValue("blue", 2), FacetValue("green", 1)],
        minimum=None,
        maximum=None,
        more_values=False,
    )


def test_kinds_are_told_apart_and_equal_numbers_are_one_value(writer: CatalogueWriter, reader: CatalogueReader) -> None:
    values = [1, 1.0, True, "1", "true", None, {"a": 1}, [], -2.5, False]
    for n, value in enumerate(values):
        write(writer, item(f"i{n}", n, v=value))
    write(writer, item("without", 99))
    facet = field(reader, "v")
    assert [(type(value), value, count) for value, count in counted(facet)] == [
        (int, 1, 2), (str, "1", 1), (str, "true", 1), (float, -2.5, 1), (bool, False, 1), (bool, True, 1),
    ]  # fmt: skip
    assert (facet.items, facet.minimum, facet.maximum) == (len(values), -2.5, 1)


def test_lists_count_their_elements_once_for_each_item(writer: CatalogueWriter, reader: CatalogueReader) -> None:
    write(writer, item("a", 1, tags=["new", "sale", "new"]), item("b", 2, tags="sale"))
    write(writer, item("c", 3, tags=[1, 1.0, True, None, ["new"], {"new": 1}]))
    facet = field(reader, "tags")
    assert counted(facet) == [("sale", 2), ("new", 1), (1, 1), (True, 1)]
    assert (facet.items, facet.minimum) == (3, 1)


def test_without_names_all_fields_are_found_inside_of_objects_too(
    writer: CatalogueWriter, reader: CatalogueReader
) -> None:
    write(writer, item("a", 1, title="A", size={"eu": 38, "care label": "wash"}, **{'no"name': 1, "": 2}))
    write(writer, item("b", 2, size={"eu": 39, "us": {"w": 7}}, sold=None))
    result = facets(reader)
    assert [str(Field(path)) for path in result.fields] == [
        'size."care label"', "size.eu", "size.us.w", "sold", "title",
    ]  # fmt: skip
    assert counted(result.fields["size", "eu"]) == [(38, 1), (39, 1)]
    assert result.fields["sold",].items == 1
    assert result.seq == 2


def test_a_field_that_is_gone_is_found_no_more_and_a_named_one_has_no_items(
    writer: CatalogueWriter, reader: CatalogueReader
) -> None:
    write(writer, item("a", 1, old=1), item("b", 2, new=1))
    assert set(facets(reader).fields) == {("new",), ("old",)}
    apply_one(writer, Delete(["a"]))
    assert set(facets(reader).fields) == {("new",)}
    assert field(reader, "old") == FieldFacet(0, [], None, None, False)


def test_range_and_counts_follow_updates_and_deletions(writer: CatalogueWriter, reader: CatalogueReader) -> None:
    write(writer, *(item(f"i{n}", n, price=n * 10) for n in range(5)))
    assert (field(reader, "price").minimum, field(reader, "price").maximum) == (0, 40)
    apply_one(writer, Delete(["i4"]))
    write(writer, item("i0", 7, price=35.5))
    facet = field(reader, "price")
    assert (facet.items, facet.minimum, facet.maximum) == (4, 10, 35.5)
    assert facets(reader, "price").seq == 3


def test_limit_says_whether_there_is_more(writer: CatalogueWriter, reader: CatalogueReader) -> None:
    write(writer, *(item(f"i{n}", n, v=n % 3) for n in range(10)))
    assert counted(field(reader, "v", limit=2)) == [(0, 4), (1, 3)]
    assert field(reader, "v", limit=2).more_values
    assert not field(reader, "v", limit=3).more_values


def test_long_texts_are_more_values_that_are_never_listed(writer: CatalogueWriter, reader: CatalogueReader) -> None:
    write(writer, item("a", 1, text="x" * MAX_TEXT), item("b", 2, text="y" * (MAX_TEXT + 1)))
    write(writer, item("c", 3, text=["z" * (MAX_TEXT + 1), "short"]))
    facet = field(reader, "text")
    assert counted(facet) == [("short", 1), ("x" * MAX_TEXT, 1)]
    assert (facet.items, facet.more_values) == (3, True)
    apply_one(writer, Delete(["b", "c"]))
    assert not field(reader, "text").more_values


def test_numbers_beyond_64_bits_are_floats(writer: CatalogueWriter, reader: CatalogueReader) -> None:
    write(writer, item("a", 1, n=2**64), item("b", 2, n=10**400), item("c", 3, n=2**63 - 1))
    assert counted(field(reader, "n")) == [(2**63 - 1, 1), (2.0**64, 1), (float("inf"), 1)]


def test_more_fields_than_can_be_counted_are_refused_until_they_are_gone(
    writer: CatalogueWriter, reader: CatalogueReader
) -> None:
    write(writer, item("wide", 1, **{f"f{n}": n for n in range(MAX_FIELDS + 1)}), item("b", 2, f1=7))
    with pytest.raises(TooManyFields, match="more than 256 fields"):
        facets(reader)
    assert counted(field(reader, "f1")) == [(1, 1), (7, 1)]
    apply_one(writer, Delete(["wide"]))
    assert set(facets(reader).fields) == {("f1",)}


def test_a_count_that_was_stopped_goes_on_where_it_was(
    writer: CatalogueWriter, reader: CatalogueReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "ROWS_AT_ONCE", 3)
    write(writer, *(item(f"i{n}", n, v=n % 2) for n in range(10)))
    blocks = 0

    def after(most: int) -> Callable[[], None]:
        def check() -> None:
            nonlocal blocks
            blocks += 1
            if blocks > most:
                raise Cancelled("enough")

        return check

    with pytest.raises(Cancelled):
        reader.facets.facets(None, [("v",)], 20, after(3))  # one before it begins, and one for each of two blocks
    apply_one(writer, Delete(["i0", "i9"]))
    write(writer, item("i10", 3, v=1))
    blocks = 0
    rest = reader.facets.facets(None, [("v",)], 20, after(4))  # five rows are left, in two blocks
    assert counted(rest.fields["v",]) == [(1, 5), (0, 4)]
    assert blocks == 3


def test_what_was_counted_is_not_read_again(writer: CatalogueWriter, reader: CatalogueReader) -> None:
    write(writer, item("a", 1, v=1))
    first = facets(reader, "v")
    assert facets(reader, "v") is first
    assert facets(reader, "v", limit=1) is not first


def test_filters_and_sets_of_fields_push_each_other_out(
    writer: CatalogueWriter, reader: CatalogueReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "TALLIES_KEPT", 2)
    write(writer, *(item(f"i{n}", n, v=n, w=n % 2) for n in range(6)))
    for _ in range(2):
        assert counted(field(reader, "w", only="v < 3")) == [(0, 2), (1, 1)]
        assert counted(field(reader, "w", only="v >= 3")) == [(1, 2), (0, 1)]
        assert counted(field(reader, "w")) == [(0, 3), (1, 3)]
        assert facets(reader, "v", "w", only="NOT v:*").fields["w",].items == 0


def test_closed_counts_no_more(writer: CatalogueWriter, tmp_path: Path) -> None:
    with CatalogueReader(tmp_path) as opened:
        facets(opened)
    with pytest.raises(CollectionNotFound):
        facets(opened)


NAMES = ["colour", "price", "tags", "size.eu", "sold"]
ONLY = ["", "price > 3", 'colour = "red" OR tags:"new"', "NOT size.eu:*"]


def _random_metadata(rng: random.Random) -> dict[str, object]:
    texts = ["red", "blue", 'q"uote', "back\\slash", "ünï", "3", "new\nline"]
    scalars: list[object] = [*texts, 0, 1, 1.0, 2.5, -3, 1e3, True, False, None]
    metadata: dict[str, object] = {}
    for name in ("colour", "price", "sold"):
        if rng.random() < 0.8:
            metadata[name] = rng.choice(scalars)
    if rng.random() < 0.7:
        metadata["tags"] = rng.choice([["new"], [], rng.choices(scalars, k=4), "new", {"key": 1}])
    if rng.random() < 0.6:
        metadata["size"] = rng.choice([{"eu": rng.randrange(4)}, {}, 38])
    return metadata


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_those_of_filters_after_any_writes(
    writer: CatalogueWriter, reader: CatalogueReader, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "ROWS_AT_ONCE", 7)
    rng = random.Random(seed)
    for _ in range(8):
        write(writer, *(item(f"i{n}", rng.randrange(99), **_random_metadata(rng)) for n in rng.sample(range(60), 12)))
        apply_one(writer, Delete([f"i{n}" for n in rng.sample(range(60), 4)]))
        only = rng.choice(ONLY)
        for names in (NAMES, []):
            result = facets(reader, *names, only=only, limit=100)
            for path, facet in result.fields.items():
                also = f" AND ({only})" if only else ""
                assert facet.items == found(reader, f"{Field(path)}:*{also}")
                assert not facet.more_values
                for one in facet.values:
                    assert one.count == found(reader, f"{Field(path)}:{json.dumps(one.value)}{also}") > 0, one
