"""What the shop sells: the counts the demo promises, and the split that keeps combinations away from training."""

from __future__ import annotations

import itertools

import pytest

from clipsearch_demo.catalogue.drawings import DRAWINGS
from clipsearch_demo.catalogue.specs import (
    Split,
    combinations,
    generate_specs,
    held_out_combinations,
    second_colours,
)
from clipsearch_demo.catalogue.vocabulary import BACKGROUNDS, COLOURS, KINDS, PATTERNS
from clipsearch_demo.catalogue.wording import (
    ATTRIBUTE_WORDS,
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    KIND_WORDS,
    PATTERN_WORDS,
)


def test_the_range_is_wide() -> None:
    assert len(KINDS) >= 12
    assert len(COLOURS) >= 12
    assert len(PATTERNS) >= 6
    assert len(BACKGROUNDS) >= 6


def test_every_kind_has_a_drawing_and_every_value_has_words() -> None:
    assert set(DRAWINGS) == set(KINDS) == set(KIND_WORDS)
    assert set(COLOUR_WORDS) == set(COLOURS)
    assert set(PATTERN_WORDS) == set(PATTERNS)
    assert set(BACKGROUND_WORDS) == set(BACKGROUNDS)
    expected = {
        (k.name, name, value) for k in KINDS.values() for name, values in k.attributes.items() for value in values
    }
    assert set(ATTRIBUTE_WORDS) == expected


def test_no_word_names_two_things() -> None:
    for words in (KIND_WORDS, COLOUR_WORDS, PATTERN_WORDS):
        every = list(itertools.chain.from_iterable(words.values()))
        assert len(every) == len(set(every))


def test_a_catalogue_holds_everything_with_unique_ids_and_real_prices() -> None:
    specs = generate_specs(6000, seed=1)
    assert len({spec.id for spec in specs}) == 6000
    assert {spec.kind for spec in specs} == set(KINDS)
    assert {spec.colour for spec in specs} == set(COLOURS)
    assert {spec.pattern for spec in specs} == set(PATTERNS)
    assert {spec.background for spec in specs} == set(BACKGROUNDS)
    for spec in specs:
        low, high = KINDS[spec.kind].prices
        assert 0 < low <= spec.price <= high + 1
        assert spec.second_colour in second_colours(spec.colour)
        assert spec.pattern in KINDS[spec.kind].patterns
        assert [name for name, _ in spec.attributes] == list(KINDS[spec.kind].attributes)


def test_every_colour_has_contrasting_seconds() -> None:
    for colour in COLOURS:
        assert colour not in second_colours(colour)
        assert len(second_colours(colour)) >= 6


def test_the_same_seed_gives_the_same_items_and_a_longer_list_begins_with_the_shorter() -> None:
    assert generate_specs(50, seed=3) == generate_specs(80, seed=3)[:50]
    assert generate_specs(50, seed=3) != generate_specs(50, seed=4)


def test_held_out_combinations_never_reach_training() -> None:
    held = held_out_combinations()
    assert not held & set(combinations("train"))
    assert held == set(combinations("held_out"))
    assert held | set(combinations("train")) == set(combinations("all"))
    assert not {spec.combination for spec in generate_specs(8000, 11, "train")} & held
    assert {spec.combination for spec in generate_specs(2000, 7, "held_out")} <= held


def test_what_is_held_out_is_only_the_combination() -> None:
    """Training knows each part, and nearly each pair, of what it never sees together."""
    train = set(combinations("train"))
    patterned = {k for k, kind in KINDS.items() if len(kind.patterns) > 2}
    for kind, colour, pattern in held_out_combinations():
        assert any(k == kind and p == pattern for k, _, p in train)
        assert any(c == colour and p == pattern for _, c, p in train)
        if kind in patterned:
            assert any(k == kind and c == colour for k, c, _ in train)


def test_the_split_does_not_move() -> None:
    """The stored model was trained with exactly this split; moving it would make its figures untrue."""
    assert len(held_out_combinations()) == 162
    assert sorted(held_out_combinations())[0] == ("backpack", "beige", "dotted")


@pytest.mark.parametrize("split", ["all", "train", "held_out"])
def test_every_split_covers_every_kind(split: Split) -> None:
    assert {kind for kind, _, _ in combinations(split)} == set(KINDS)
