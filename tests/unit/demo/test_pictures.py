"""Pictures: the same bytes from the same item, whoever draws it; the right size; the colours that were asked for."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from clipsearch_demo.catalogue.render import render
from clipsearch_demo.catalogue.scenery import SIZE
from clipsearch_demo.catalogue.specs import ProductSpec, generate_specs
from clipsearch_demo.catalogue.svg import flip, mirrored, mix, rgb, vary
from clipsearch_demo.catalogue.vocabulary import COLOURS, KINDS

_SPECS = generate_specs(600, seed=31)


def _one_of(kind: str) -> ProductSpec:
    return next(spec for spec in _SPECS if spec.kind == kind)


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_kind_is_drawn_with_all_its_attributes(kind: str) -> None:
    spec = _one_of(kind)
    for name, values in KINDS[kind].attributes.items():
        pictures = set()
        for value in values:
            attributes = tuple((n, value if n == name else v) for n, v in spec.attributes)
            picture = render(replace(spec, attributes=attributes))
            assert picture.size == (SIZE, SIZE) and SIZE >= 224
            assert picture.mode == "RGB"
            pictures.add(picture.tobytes())
        assert len(pictures) == len(values), f"{name} of {kind} can't be seen"


def test_the_same_item_gives_the_same_pixels() -> None:
    spec = _SPECS[0]
    assert render(spec).tobytes() == render(spec).tobytes()
    assert render(spec).tobytes() != render(replace(spec, render_seed=spec.render_seed + 1)).tobytes()


@pytest.mark.parametrize("colour", list(COLOURS))
def test_the_product_has_its_colour(colour: str) -> None:
    """The middle of a plain cushion, which no light or shade should turn into another named colour."""
    spec = replace(_one_of("cushion"), colour=colour, second_colour=colour, pattern="plain")
    middle = np.asarray(render(spec), dtype=float)[SIZE // 2 - 30 : SIZE // 2 + 30, SIZE // 2 - 30 : SIZE // 2 + 30]
    seen = np.median(middle.reshape(-1, 3), axis=0)
    distances = {name: float(np.linalg.norm(seen - np.array(rgb(value)))) for name, value in COLOURS.items()}
    assert colour in sorted(distances, key=distances.__getitem__)[:2]


def test_mirroring_a_path_closes_it_symmetrically() -> None:
    assert mirrored("M0 -10 L5 -8 Q9 0 0 10") == "M0 -10 L5 -8 Q9 0 0 10 Q-9 0 -5 -8 L0 -10 Z"
    assert flip("M1 2 L-3 4 Z") == "M-1 2 L3 4 Z"
    assert flip(flip("M1.5 -2 C3 4 5 6 7 8")) == "M1.5 -2 C3 4 5 6 7 8"


def test_mixing_and_varying_colours() -> None:
    assert mix("#000000", "#ffffff", 0.5) == "#808080"
    for colour in COLOURS.values():
        moved = rgb(vary(colour, Random(1)))
        assert max(abs(a - b) for a, b in zip(moved, rgb(colour), strict=True)) < 40
