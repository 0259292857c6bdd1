"""What every peer is sent, and the vectors that are right for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.models import random_bundle, random_checkpoint
from benchmarks.harness.workload import photographs, queries
from benchmarks.peers.contenders import Float32, Peer, Tower
from clipsearch.encoders.load import Encoders, load_encoders
from clipsearch.encoders.runtime import RuntimeOptions

TEXTS = 64
"""Different ones, as many as are in flight; like each picture, each is sent by a load generator of its own."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Texts of 4 to 12 words and JPEGs of 512 x 512, and for each model what they are embedded to."""

    items: Mapping[Tower, list[Any]]
    models: Mapping[str, Path]
    """The bundle and the checkpoint, by what ``Peer.model`` says."""
    expected: Mapping[tuple[str, Tower], Float32]
    """Float32 [inputs, 512], by the same and the tower."""
    ids: list[Any]
    pixels: list[Any]

    def task_model(self, peer: Peer) -> Path:
        """Return the directory that a peer is to serve."""
        return self.models[peer.model]


def make_inputs(work: Path, precision: str, seed: int, tokenizer: Path) -> Inputs:
    """Make the models where they are not there yet, and embed all inputs one by one with our own encoders.

    A checkpoint in PyTorch is float32, so the float32 graphs say what is right for it.
    """
    texts, pictures = queries(TEXTS, seed), photographs()
    bundle = random_bundle(work, precision, seed, tokenizer)
    exact = bundle if precision == "fp32" else random_bundle(work, "fp32", seed, tokenizer)
    expected: dict[tuple[str, Tower], Float32] = {}
    ids: list[Any] = []
    pixels: list[Any] = []
    for kind, directory in (("bundle", bundle), ("checkpoint", exact)):
        encoders: Encoders = load_encoders(directory, RuntimeOptions(device="cpu", threads=1))
        ids = [encoders.tokenizer(text).ids for text in texts]
        pixels = [encoders.preprocessor(picture) for picture in pictures]
        expected[kind, "text"] = np.concatenate([encoders.text.encode([one]) for one in ids])
        expected[kind, "image"] = np.concatenate([encoders.image.encode([one]) for one in pixels])
    return Inputs(
        items={"text": texts, "image": pictures},
        models={"bundle": bundle, "checkpoint": random_checkpoint(work, seed, tokenizer)},
        expected=expected,
        ids=ids,
        pixels=pixels,
    )
