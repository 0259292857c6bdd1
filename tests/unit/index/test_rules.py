"""The rules: what must hold for every N and d."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.index.rules import (
    CODE_BYTES,
    FLAT_LIMIT,
    MAX_SAMPLE_BYTES,
    Kind,
    choose_kind,
    choose_m,
    choose_nlist,
    choose_sample,
    choose_shape,
)

sizes = st.integers(1, 10**9)
dimensions = st.integers(1, 4096)


@given(sizes, sizes)
def test_nlist_grows_with_the_index(a: int, b: int) -> None:
    small, large = sorted((a, b))
    assert choose_nlist(small) <= choose_nlist(large)


@given(sizes)
def test_lists_have_points_to_train_on(n: int) -> None:
    nlist = choose_nlist(n)
    assert nlist & (nlist - 1) == 0
    assert nlist == 1 or nlist * 39 <= n


@given(dimensions)
def test_codes_divide_the_dimension(d: int) -> None:
    m = choose_m(d)
    assert d % m == 0 and m in CODE_BYTES and (m == 1 or 2 * m <= d)


@given(sizes, dimensions)
def test_samples_fit(n: int, d: int) -> None:
    shape = choose_shape(n, d)
    assert shape.nlist <= shape.sample <= n
    assert 1 <= shape.nprobe <= shape.nlist and shape.overfetch >= 1
    assert 4 * d * shape.sample <= max(MAX_SAMPLE_BYTES, 4 * d * shape.nlist)


@pytest.mark.parametrize(
    ("d", "m"),
    [(64, 32), (96, 48), (128, 64), (256, 64), (384, 64), (512, 64), (640, 64), (768, 64), (1024, 64), (97, 1)],
)
def test_known_code_sizes(d: int, m: int) -> None:
    assert choose_m(d) == m


@pytest.mark.parametrize(
    ("n", "nlist"), [(1, 1), (20_001, 512), (100_000, 1024), (1_000_000, 4096), (10_000_000, 16384)]
)
def test_known_list_counts(n: int, nlist: int) -> None:
    assert choose_nlist(n) == nlist


def test_kind_follows_size_unless_asked_for() -> None:
    assert choose_kind(FLAT_LIMIT) is Kind.FLAT
    assert choose_kind(FLAT_LIMIT + 1) is Kind.IVFPQ
    assert choose_kind(3, Kind.IVFPQ) is Kind.IVFPQ
    assert choose_kind(10**7, Kind.FLAT) is Kind.FLAT


def test_nothing_cannot_be_indexed() -> None:
    with pytest.raises(ValueError, match="at least one vector"):
        choose_nlist(0)
    with pytest.raises(ValueError, match="at least one coordinate"):
        choose_m(0)


def test_a_million_of_512_trains_on_64_points_per_list() -> None:
    assert choose_sample(1_000_000, 512, 4096) == 262_144
