"""Request ids: a retry is answered as the first time, and writes nothing."""

from pathlib import Path

import pytest

from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Delete, Mutation, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.errors import ClipsearchError, RequestIdReused

from .support import HASH, D, apply_one, fill, item, reasons, row_of, vector

MIXED = [item("a", 1), item("a", 2), item("b", 3), Item("c", "[]", vector(1)), item("d", 4), Item("e", "{}", None)]
OUTCOMES = ["CREATED", "ID_DUPLICATE", "CREATED", "METADATA_NOT_USABLE", "CREATED", "INPUT_MISSING"]


def test_a_retry_gets_the_stored_answer_and_writes_nothing(tmp_path: Path) -> None:
    with CatalogueWriter(tmp_path, D, HASH) as writer:
        first = apply_one(writer, Upsert(MIXED, "r1"))
        apply_one(writer, Delete(["a"], "r2"))
    with CatalogueWriter(tmp_path, D, HASH) as writer:  # also after a restart
        again = apply_one(writer, Upsert(MIXED, "r1"))
        assert reasons(first) == reasons(again) == OUTCOMES
        assert (again.seq, again.repeated, first.repeated, writer.seq) == (1, True, False, 2)
        assert len(again.rows) == len(again.removed) == len(again.ids) == len(again.embeddings) == 0
        for one, other in zip(first.outcomes, again.outcomes, strict=True):
            if isinstance(one, ClipsearchError):
                assert isinstance(other, type(one)) and (other.message, other.field) == (one.message, one.field)
        assert apply_one(writer, Delete(["a"], "r2")).repeated
    with CatalogueReader(tmp_path) as reader:
        assert row_of(reader, "a") is None  # the retry of the first has not brought it back


def test_both_in_one_group(writer: CatalogueWriter) -> None:
    first, again, other = writer.apply([Upsert([item("a")], "r"), Upsert([item("a")], "r"), Delete(["a"], "r")])
    assert isinstance(first, Applied) and isinstance(again, Applied)
    assert (reasons(first), reasons(again), first.seq, again.seq) == (["CREATED"], ["CREATED"], 1, 1)
    assert (first.repeated, again.repeated) == (False, True)
    assert isinstance(other, RequestIdReused)


@pytest.mark.parametrize(
    "other",
    [
        Delete(["a"], "r"),
        Upsert([], "r"),
        Upsert([item("b", 1)], "r"),
        Upsert([item("a", 2)], "r"),
        Upsert([item("a", 1, new=True)], "r"),
        Upsert([item("a", 1), item("b", 1)], "r"),
    ],
)
def test_other_content_is_refused(writer: CatalogueWriter, other: Mutation) -> None:
    apply_one(writer, Upsert([item("a", 1)], "r"))
    refused, neighbour = writer.apply([other, Upsert([item("n")])])
    assert isinstance(refused, RequestIdReused)
    assert (refused.field, refused.metadata) == ("request_id", {"request_id": "r"})
    assert isinstance(neighbour, Applied) and neighbour.seq == 2


@pytest.mark.parametrize("request_id", ["", "x" * 257, "a\n", "\ud800"])
def test_bad_request_ids(writer: CatalogueWriter, request_id: str) -> None:
    (refused,) = writer.apply([Upsert([item("a")], request_id)])
    assert isinstance(refused, ClipsearchError) and not isinstance(refused, Applied)
    assert (refused.reason, refused.field) == ("INVALID_INPUT", "request_id")
    assert writer.seq == 0


def test_an_answer_without_effect_is_remembered_too(writer: CatalogueWriter) -> None:
    assert reasons(apply_one(writer, Delete(["a"], "r"))) == ["NOT_FOUND"]
    apply_one(writer, Upsert([item("a")]))
    again = apply_one(writer, Delete(["a"], "r"))
    assert (reasons(again), again.seq, again.repeated, writer.seq) == (["NOT_FOUND"], 0, True, 1)


def test_only_the_newest_are_remembered(tmp_path: Path) -> None:
    fill(tmp_path, item("a"))
    with CatalogueWriter(tmp_path, D, HASH, requests_kept=3) as writer:
        for n in range(5):
            apply_one(writer, Upsert([item(f"i{n}")], f"r{n}"))
        assert [apply_one(writer, Upsert([item(f"i{n}")], f"r{n}")).repeated for n in (4, 3, 2, 0)] == [
            True,
            True,
            True,
            False,
        ]
