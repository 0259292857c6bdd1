"""Captions say what they claim, in many ways, and claim only what is true."""

from __future__ import annotations

from random import Random

import numpy as np

from clipsearch_demo.captions import Caption, caption, facts, full_caption, partial_caption
from clipsearch_demo.catalogue.specs import generate_specs
from clipsearch_demo.catalogue.wording import (
    ATTRIBUTE_WORDS,
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    KIND_WORDS,
    PATTERN_NOUNS,
    PATTERN_WORDS,
    description,
    title,
)

_SPECS = generate_specs(400, seed=21)


def _said(text: str, phrases: tuple[str, ...]) -> bool:
    """Whether any of `phrases` (without its placeholder and leading "with") stands in `text`."""
    return any(p.replace("{}", "").strip().removeprefix("with ").lower() in text.lower() for p in phrases)


def _says(text: str, kind: str, pattern: str, name: str, value: str) -> bool:
    if name == "kind":
        return _said(text, KIND_WORDS[value])
    if name in ("colour", "second_colour"):
        return _said(text, COLOUR_WORDS[value])
    if name == "pattern":
        nouns = tuple(noun.replace("in {}", "") for noun in PATTERN_NOUNS.get(pattern, ()))
        return _said(text, PATTERN_WORDS[value] + nouns)
    if name == "background":
        return _said(text, BACKGROUND_WORDS[value])
    return _said(text, ATTRIBUTE_WORDS[kind, name, value])


def test_every_claim_is_true_and_stands_in_the_text() -> None:
    rng = Random(5)
    for spec in _SPECS:
        for made in (full_caption(spec, rng, background=True), partial_caption(spec, rng), caption(spec, rng)):
            assert made.describes(spec)
            for name, value in made.claims.items():
                assert _says(made.text, spec.kind, spec.pattern, name, value), (made.text, name, value)


def test_full_captions_claim_everything() -> None:
    rng = Random(6)
    for spec in _SPECS[:100]:
        known = facts(spec)
        assert full_caption(spec, rng, background=True).claims == known
        del known["background"]
        assert full_caption(spec, rng).claims == known


def test_partial_captions_say_less_and_describe_more() -> None:
    rng = Random(7)
    made = [partial_caption(spec, rng) for spec in _SPECS]
    assert all("kind" in c.claims for c in made)
    described = [sum(c.describes(spec) for spec in _SPECS) for c in made]
    assert np.mean(described) > 2
    assert any(set(c.claims) == {"kind", "colour"} for c in made)


def test_a_claim_that_fails_is_noticed() -> None:
    spec = _SPECS[0]
    other = next(s for s in _SPECS if s.kind == spec.kind and s.colour != spec.colour)
    red = Caption("", {"kind": spec.kind, "colour": spec.colour})
    assert red.describes(spec)
    assert not red.describes(other)
    assert not Caption("", {"kind": spec.kind, "heel-of-another-kind": "x"}).describes(spec)


def test_wording_varies_and_repeats_with_the_seed() -> None:
    spec = _SPECS[3]
    texts = [caption(spec, Random(seed)).text for seed in range(60)]
    assert len(set(texts)) > 40
    assert texts == [caption(spec, Random(seed)).text for seed in range(60)]
    every = [caption(s, Random(i)).text for i, s in enumerate(_SPECS)]
    assert any(text.isupper() for text in every)
    assert any(text.islower() for text in every)
    assert any(text.startswith("a photo of") for text in every)


def test_titles_name_the_item_in_plain_words() -> None:
    for spec in _SPECS:
        words = title(spec).lower()
        assert words == title(spec).lower()
        assert spec.kind in words
        assert spec.colour in words
        assert spec.second_colour in words
        assert spec.pattern == "plain" or spec.pattern in words
        assert spec.colour in description(spec)
        assert spec.second_colour in description(spec)
