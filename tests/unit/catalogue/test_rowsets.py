"""Row sets: what is kept, brought up to date, dropped, and computed once for all who wait."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch.catalogue.filters.compile import SqlValue, compile_filter
from clipsearch.catalogue.filters.rowsets import RowSets
from clipsearch.catalogue.items import Item, metadata_json
from clipsearch.catalogue.mutations import Upsert
from clipsearch.catalogue.schema import catalogue_file, connect_reader
from clipsearch.catalogue.writer import CatalogueWriter

PATIENCE_S = 30.0
"""How long a thread that should come is waited for, before the test fails."""


def metadata_of(row: int) -> dict[str, object]:
    """Remainders of the row number, so that the rows of a filter are known without asking anybody."""
    return {f"mod{n}": row % n for n in (1, 2, 3, 7, 200)} | {"row": row}


class Catalogue:
    """A real catalogue file, what was asked of it, and a gate at which its readers can be made to wait."""

    def __init__(self, directory: Path) -> None:
        self._path = catalogue_file(directory)
        self._writer = CatalogueWriter(directory, 1, None)
        self._rows = 0
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self.asked: list[tuple[SqlValue, ...]] = []
        self.gates: dict[str, threading.Barrier] = {}

    def grow(self, count: int) -> int:
        first, self._rows = self._rows, self._rows + count
        vector = np.ones(1, dtype=np.float16)
        rows = range(first, first + count)
        self._writer.apply([Upsert([Item(f"item{row}", metadata_json(metadata_of(row)), vector) for row in rows])])
        return first + count

    def query(self, condition: str, parameters: tuple[SqlValue, ...], first: int, end: int) -> Iterator[int]:
        self.asked.append((first, end, *parameters))
        if (gate := self.gates.get(str([first, end, *parameters][-1]))) is not None:
            gate.wait(PATIENCE_S)  # the scan has begun
            gate.wait(PATIENCE_S)  # the scan may end
        if not hasattr(self._local, "connection"):
            self._local.connection = connect_reader(self._path)
            self._opened.append(self._local.connection)
        select = f"SELECT row FROM items WHERE row >= ? AND row < ? AND {condition} ORDER BY row"
        return (row for (row,) in self._local.connection.execute(select, (first, end, *parameters)))

    def close(self) -> None:
        self._writer.close()
        for connection in self._opened:
            connection.close()


@pytest.fixture(name="catalogue")
def _catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    catalogue = Catalogue(tmp_path)
    yield catalogue
    catalogue.close()


def expected(modulus: int, up_to_row: int) -> list[int]:
    return list(range(0, up_to_row, modulus))


@pytest.mark.parametrize("modulus", [1, 3, 200], ids=["every row", "dense, as bits", "sparse, as numbers"])
def test_a_set_is_extended_by_the_new_rows_alone(catalogue: Catalogue, modulus: int) -> None:
    sets = RowSets(catalogue.query, max_sets=4, max_bytes=1 << 20)
    compiled = compile_filter(f"mod{modulus} = 0")
    ends = [catalogue.grow(count) for count in (1, 6, 500, 8, 1)]
    for end in ends:
        rows = sets.rows(compiled, end)
        assert rows.dtype == np.int64
        assert rows.tolist() == expected(modulus, end)
    assert [parameters[:2] for parameters in catalogue.asked] == list(zip([0, *ends], ends, strict=False))
    for end in (0, 1, 7, 100, ends[-1]):  # an older state, for which nothing is asked again
        assert sets.rows(compiled, end).tolist() == expected(modulus, end)
    assert len(catalogue.asked) == len(ends)


def test_answers_cannot_be_changed(catalogue: Catalogue) -> None:
    end = catalogue.grow(300)
    sets = RowSets(catalogue.query, max_sets=4, max_bytes=1 << 20)
    for text in ("mod1 = 0", "mod200 = 0"):
        rows = sets.rows(compile_filter(text), end)
        with pytest.raises(ValueError, match="read-only"):
            rows[0] = 7


def test_filters_that_differ_in_spelling_share_a_set(catalogue: Catalogue) -> None:
    end = catalogue.grow(30)
    sets = RowSets(catalogue.query, max_sets=4, max_bytes=1 << 20)
    for text in ("mod2 = 0 AND mod3 = 0", "(mod3=0.0) mod2=0", "mod3 IN (0) AND NOT mod2 != 0"):
        assert sets.rows(compile_filter(text), end).tolist() == expected(6, end)
    assert (len(catalogue.asked), len(sets)) == (1, 1)


def test_no_rows_and_no_catalogue(catalogue: Catalogue) -> None:
    sets = RowSets(catalogue.query, max_sets=4, max_bytes=1 << 20)
    assert sets.rows(compile_filter("mod2 = 0"), 0).tolist() == []
    assert sets.rows(compile_filter("nothing:*"), catalogue.grow(10)).tolist() == []


def test_the_least_recently_used_sets_go_first(catalogue: Catalogue) -> None:
    end = catalogue.grow(10)
    sets = RowSets(catalogue.query, max_sets=2, max_bytes=1 << 20)
    two, three, seven = (compile_filter(f"mod{n} = 0") for n in (2, 3, 7))
    for compiled in (two, three, two, seven, two):
        sets.rows(compiled, end)
    assert (len(catalogue.asked), len(sets)) == (3, 2)
    sets.rows(three, end)  # had to make room
    assert (len(catalogue.asked), len(sets)) == (4, 2)


def test_bytes_are_bounded_also_when_sets_grow(catalogue: Catalogue) -> None:
    sets = RowSets(catalogue.query, max_sets=100, max_bytes=5000)
    filters = [compile_filter(f"mod1 = 0 AND row != {-n}") for n in range(1, 4)]
    end = catalogue.grow(100)
    for compiled in filters:
        sets.rows(compiled, end)
    assert len(sets) == 3
    assert 3 * 1024 < sets.nbytes <= 5000
    end = catalogue.grow(20_000)
    for compiled in filters:
        assert len(sets.rows(compiled, end)) == end
        assert sets.nbytes <= 5000
    assert len(sets) == 1


def test_a_set_that_is_too_large_is_answered_but_not_kept(catalogue: Catalogue) -> None:
    end = catalogue.grow(100)
    sets = RowSets(catalogue.query, max_sets=100, max_bytes=1000)
    for _ in range(2):
        assert len(sets.rows(compile_filter("mod1 = 0"), end)) == end
        assert (len(sets), sets.nbytes) == (0, 0)
    assert len(catalogue.asked) == 2


def test_of_those_who_ask_for_the_same_new_set_one_scans(catalogue: Catalogue) -> None:
    end = catalogue.grow(50)
    sets = RowSets(catalogue.query, max_sets=4, max_bytes=1 << 20)
    slow, other = compile_filter("mod7 = 0"), compile_filter("mod3 = 0")
    gate = catalogue.gates[str(slow.parameters[-1])] = threading.Barrier(2)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(sets.rows, slow, end) for _ in range(4)]
        gate.wait(PATIENCE_S)
        # The scan of one filter goes on; another one passes it, new and cached.
        assert sets.rows(other, end).tolist() == expected(3, end)
        assert sets.rows(other, end).tolist() == expected(3, end)
        gate.wait(PATIENCE_S)
        assert [found.result(PATIENCE_S).tolist() for found in waiting] == [expected(7, end)] * 4
    assert len(catalogue.asked) == 2


def test_what_is_known_is_answered_while_newer_rows_are_scanned(catalogue: Catalogue) -> None:
    sets = RowSets(catalogue.query, max_sets=4, max_bytes=1 << 20)
    compiled = compile_filter("mod7 = 0")
    old = catalogue.grow(50)
    sets.rows(compiled, old)
    new = catalogue.grow(50)
    gate = catalogue.gates[str(compiled.parameters[-1])] = threading.Barrier(2)
    with ThreadPoolExecutor(1) as pool:
        newer = pool.submit(sets.rows, compiled, new)
        gate.wait(PATIENCE_S)
        assert sets.rows(compiled, old).tolist() == expected(7, old)
        gate.wait(PATIENCE_S)
        assert newer.result(PATIENCE_S).tolist() == expected(7, new)


def test_a_set_dropped_while_it_is_scanned_is_answered_and_costs_nothing(catalogue: Catalogue) -> None:
    end = catalogue.grow(50)
    sets = RowSets(catalogue.query, max_sets=1, max_bytes=1 << 20)
    slow, other = compile_filter("mod7 = 0"), compile_filter("mod3 = 0")
    gate = catalogue.gates[str(slow.parameters[-1])] = threading.Barrier(2)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(sets.rows, slow, end)
        gate.wait(PATIENCE_S)
        sets.rows(other, end)
        cost = sets.nbytes
        gate.wait(PATIENCE_S)
        assert found.result(PATIENCE_S).tolist() == expected(7, end)
    assert (len(sets), sets.nbytes) == (1, cost)


def test_a_failed_scan_is_told_and_tried_again(catalogue: Catalogue) -> None:
    end = catalogue.grow(50)
    sets = RowSets(catalogue.query, max_sets=4, max_bytes=1 << 20)
    compiled = compile_filter("mod7 = 0")
    catalogue.gates[str(compiled.parameters[-1])] = broken = threading.Barrier(2)
    broken.abort()
    with pytest.raises(threading.BrokenBarrierError):
        sets.rows(compiled, end)
    catalogue.gates.clear()
    assert sets.rows(compiled, end).tolist() == expected(7, end)


def test_searches_and_writes_at_once(catalogue: Catalogue) -> None:
    """Readers ask for what was committed when they began, while rows are appended and sets are thrown out."""
    sets = RowSets(catalogue.query, max_sets=2, max_bytes=4000)
    committed = catalogue.grow(20)
    stop = threading.Event()

    def search(modulus: int) -> int:
        compiled, answers = compile_filter(f"mod{modulus} = 0"), 0
        while not stop.is_set() or answers == 0:
            end = committed
            assert sets.rows(compiled, end).tolist() == expected(modulus, end)
            answers += 1
        return answers

    with ThreadPoolExecutor(4) as pool:
        searching = [pool.submit(search, modulus) for modulus in (1, 2, 3, 200)]
        try:
            for _ in range(40):
                committed = catalogue.grow(13)
        finally:
            stop.set()
        assert all(found.result(PATIENCE_S) > 0 for found in searching)
    assert sets.nbytes <= 4000


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 90))
@settings(deadline=None)
def test_any_growth_and_density(growth: list[int], modulus: int) -> None:
    """Straight on the storage: the query makes up its rows, from 0 to the given one."""

    def query(condition: str, parameters: tuple[SqlValue, ...], first: int, end: int) -> Iterator[int]:
        return (row for row in range(first, end) if row % modulus == 0)

    sets = RowSets(query, max_sets=1, max_bytes=1 << 20)
    end = 0
    for more in growth:
        end += more * 10
        assert sets.rows(compile_filter("any:*"), end).tolist() == expected(modulus, end)
        assert sets.rows(compile_filter("any:*"), end // 3).tolist() == expected(modulus, end // 3)
