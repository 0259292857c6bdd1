"""Training batches: pictures slightly changed, fresh captions, and which caption is true of which picture."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPTokenizerFast

from clipsearch_demo.captions import caption, facts
from clipsearch_demo.catalogue.specs import ProductSpec
from clipsearch_demo.catalogue.vocabulary import KINDS

_FIELDS = ("kind", "colour", "pattern", "second_colour", "background")
_ATTRIBUTE_SLOTS = max(len(kind.attributes) for kind in KINDS.values())
_WEIGHTS = {"kind": 0.5, "colour": 0.3, "pattern": 0.14, "second_colour": 0.06}
"""How much sharing a fact counts between two pictures; what isn't here (attributes, background) counts nothing."""

_MAX_SHIFT = 4


@dataclass(frozen=True)
class Batch:
    """One step's data.

    `pixels` float32 (n, 3, size, size) in 0 … 1, `tokens` int64 (n, length) and its `mask`, `positives` bool (n, n):
    whether caption j describes picture i, `agreement` float32 (n, n): how much pictures i and j have in common, 0 … 1.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    mask: torch.Tensor
    positives: torch.Tensor
    agreement: torch.Tensor


class FactTable:
    """Facts and claims as small integers, so that a whole batch is compared at once."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], int] = {}

    def row(self, kind: str, known: dict[str, str]) -> list[int]:
        """One integer per field, then one per attribute of the kind; -1 where `known` says nothing."""
        names = [*_FIELDS, *KINDS[kind].attributes]
        row = [self._code(name, known[name]) if name in known else -1 for name in names]
        return row + [-1] * (len(_FIELDS) + _ATTRIBUTE_SLOTS - len(row))

    def _code(self, name: str, value: str) -> int:
        return self._codes.setdefault((name, value), len(self._codes))


def positives(known: NDArray[np.int64], claims: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(pictures, fields) and (captions, fields) to bool (pictures, captions): whether every claim holds."""
    holds = np.equal(claims[None, :, :], known[:, None, :]) | (claims[None, :, :] < 0)
    result: NDArray[np.bool_] = np.asarray(np.all(holds, axis=2))
    return result


def agreement(known: NDArray[np.int64]) -> NDArray[np.float32]:
    """(pictures, fields) to float32 (pictures, pictures): the weights of the facts that two pictures share."""
    shared = np.zeros((len(known), len(known)), dtype=np.float32)
    for name, weight in _WEIGHTS.items():
        column = known[:, _FIELDS.index(name)]
        shared += np.float32(weight) * np.equal(column[:, None], column[None, :])
    return shared


class BatchMaker:
    """Makes the batch of any step; step s of seed t is always the same, so that a run can be resumed exactly."""

    def __init__(
        self, specs: list[ProductSpec], pictures: NDArray[np.uint8], tokenizer: CLIPTokenizerFast, size: int, seed: int
    ) -> None:
        self._specs, self._pictures, self._tokenizer = specs, pictures, tokenizer
        self._size, self._seed = size, seed
        self._table = FactTable()
        self._known = np.array([self._table.row(spec.kind, facts(spec)) for spec in specs])

    def make(self, step: int) -> Batch:
        """The batch of one step: pictures drawn at random, without repeats inside the batch."""
        rng = np.random.default_rng((self._seed, step))
        words = Random(f"{self._seed}/{step}")
        chosen = rng.choice(len(self._specs), self._size, replace=False)
        captions = [caption(self._specs[i], words) for i in chosen]
        claims = np.array([self._table.row(c.claims["kind"], c.claims) for c in captions])
        tokens = self._tokenizer([c.text for c in captions], return_tensors="pt", padding=True, truncation=True)
        return Batch(
            pixels=_augment(self._pictures[chosen], rng),
            tokens=tokens["input_ids"],
            mask=tokens["attention_mask"],
            positives=torch.from_numpy(positives(self._known[chosen], claims)),
            agreement=torch.from_numpy(agreement(self._known[chosen])),
        )


def _augment(pictures: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
    """Shifted, mirrored, brighter or darker; hue stays, since colour is part of what is learned."""
    count, size = pictures.shape[:2]
    edge = ((0, 0), (_MAX_SHIFT, _MAX_SHIFT), (_MAX_SHIFT, _MAX_SHIFT), (0, 0))
    padded = np.pad(pictures, edge, mode="edge")
    shifts = rng.integers(0, 2 * _MAX_SHIFT + 1, (count, 2))
    mirrored = rng.integers(0, 2, size=(count,))
    moved = np.empty_like(pictures)
    for i, (top, left) in enumerate(shifts):
        view = padded[i, top : top + size, left : left + size]
        moved[i] = view[:, ::-1] if mirrored[i] else view
    pixels = torch.from_numpy(moved).permute(0, 3, 1, 2).float().div_(255)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (count, 1, 1, 1)).astype(np.float32))
    lift = torch.from_numpy(rng.uniform(-0.05, 0.05, (count, 1, 1, 1)).astype(np.float32))
    return ((pixels - 0.5) * gain + 0.5 + lift).clamp_(0, 1)
