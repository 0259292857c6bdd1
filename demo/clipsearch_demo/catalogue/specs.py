"""Which products exist: seeded descriptions of items, and the combinations kept away from training.

A combination is (kind, colour, pattern). For every kind a few colours, each in a few patterns, are held out: the model
never sees, say, a red striped dress, though it sees red dresses, striped dresses and red striped shirts. They are
concentrated on few colours per kind so that a gallery of held-out pictures still has many items of one kind and
colour; otherwise no ranking could fill its first ten places with the same kind *and* colour.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal

from clipsearch_demo.catalogue.vocabulary import BACKGROUNDS, COLOURS, KINDS

Split = Literal["all", "train", "held_out"]

_HELD_OUT_COLOURS = 3

_TOO_CLOSE = frozenset(
    frozenset((colour, other))
    for colour, others in {
        "red": ("orange", "brown"),
        "orange": ("yellow", "brown"),
        "yellow": ("beige", "white"),
        "green": ("turquoise", "grey", "brown"),
        "turquoise": ("blue", "grey"),
        "blue": ("navy", "purple"),
        "navy": ("black", "purple", "brown"),
        "purple": ("black", "brown"),
        "pink": ("beige", "white"),
        "brown": ("black",),
        "beige": ("white", "grey"),
        "grey": ("white",),
    }.items()
    for other in others
)
"""Pairs of colours that are not put on one product, since a pattern in them would hardly be seen."""


@dataclass(frozen=True)
class ProductSpec:
    """Everything that defines one item and its picture; `attributes` is ordered (name, value) pairs."""

    id: str
    kind: str
    colour: str
    pattern: str
    second_colour: str
    attributes: tuple[tuple[str, str], ...]
    background: str
    price: float
    render_seed: int

    @property
    def combination(self) -> tuple[str, str, str]:
        """(kind, colour, pattern): what the held-out split is made of."""
        return self.kind, self.colour, self.pattern


def second_colours(colour: str) -> tuple[str, ...]:
    """The colours that stand out against `colour`."""
    return tuple(c for c in COLOURS if c != colour and frozenset((c, colour)) not in _TOO_CLOSE)


def _ranked(values: tuple[str, ...], key: str) -> list[str]:
    """`values` in an order that depends on `key` alone, on any machine and in any process."""
    return sorted(values, key=lambda value: hashlib.sha256(f"{key}/{value}".encode()).digest())


@lru_cache(maxsize=1)
def held_out_combinations() -> frozenset[tuple[str, str, str]]:
    """All (kind, colour, pattern) that training never sees."""
    held: set[tuple[str, str, str]] = set()
    for kind in KINDS.values():
        for colour in _ranked(tuple(COLOURS), f"held out {kind.name}")[:_HELD_OUT_COLOURS]:
            count = max(1, len(kind.patterns) // 3)
            for pattern in _ranked(kind.patterns, f"held out {kind.name} {colour}")[:count]:
                held.add((kind.name, colour, pattern))
    return frozenset(held)


@lru_cache(maxsize=3)
def combinations(split: Split) -> tuple[tuple[str, str, str], ...]:
    """The (kind, colour, pattern) of a split, in a fixed order."""
    held = held_out_combinations()
    every = ((k.name, c, p) for k in KINDS.values() for c in COLOURS for p in k.patterns)
    return tuple(x for x in every if split == "all" or (x in held) == (split == "held_out"))


def _price(kind: str, rng: Random) -> float:
    low, high = KINDS[kind].prices
    # Shops have many cheap things and few dear ones, and prices end in .90 or .50.
    return int(low + (high - low) * rng.random() ** 1.7) + rng.choice((0.5, 0.9, 0.95))


def _combination(split: Split, rng: Random) -> tuple[str, str, str]:
    """A random combination of a split; every kind equally likely, plain somewhat more so than other patterns."""
    pool = _by_kind(split)[rng.choice(tuple(KINDS))]
    plain = [x for x in pool if x[2] == "plain"]
    return rng.choice(plain) if plain and rng.random() < 0.1 else rng.choice(pool)


@lru_cache(maxsize=3)
def _by_kind(split: Split) -> dict[str, list[tuple[str, str, str]]]:
    pools: dict[str, list[tuple[str, str, str]]] = {name: [] for name in KINDS}
    for combination in combinations(split):
        pools[combination[0]].append(combination)
    return pools


def generate_specs(count: int, seed: int, split: Split = "all") -> list[ProductSpec]:
    """`count` items drawn from a split.

    Item i depends on (seed, split, i) only, so a longer list begins with a shorter one.
    """
    return [_spec(index, seed, split) for index in range(count)]


def _spec(index: int, seed: int, split: Split) -> ProductSpec:
    rng = Random(f"{seed}/{split}/{index}")
    kind, colour, pattern = _combination(split, rng)
    return ProductSpec(
        id=f"{kind}-{index:05d}",
        kind=kind,
        colour=colour,
        pattern=pattern,
        second_colour=rng.choice(second_colours(colour)),
        attributes=tuple((name, rng.choice(values)) for name, values in KINDS[kind].attributes.items()),
        background=rng.choice(tuple(BACKGROUNDS)),
        price=_price(kind, rng),
        render_seed=rng.getrandbits(48),
    )
