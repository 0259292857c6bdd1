"""An offline build with a tiny deterministic encoder, also as a program that can be told when to die.

``python -m tests.integration.tiny_build SOURCE OUT STAGE STEPS`` builds SOURCE (pictures and their metadata.jsonl)
into OUT and kills itself, as ``kill -9`` would, once STAGE reports that STEPS have been done.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from clipsearch.encoders.load import Encoders
from clipsearch.encoders.preprocess import ImageLimits, decode
from clipsearch.index.build import IndexOptions
from clipsearch.index.rules import Kind
from clipsearch.offline import Request, build_with
from clipsearch.ports import Pixels, TokenIds, Tokens, Vectors

DIMENSION = 16


class TinyTower:
    """Both towers: a fixed random projection of 4 x 4 pixels, or of a histogram of token ids."""

    dimension = DIMENSION

    def __init__(self) -> None:
        self.embedded = 0
        self._projection = np.random.default_rng(0).standard_normal((48, DIMENSION)).astype(np.float32)

    def encode(self, batch: Sequence[Pixels] | Sequence[TokenIds]) -> Vectors:
        self.embedded += len(batch)
        rows = [
            (x if x.ndim == 3 else np.bincount(x % 48, minlength=48)).reshape(-1).astype(np.float32) - 0.5
            for x in batch
        ]
        out = np.stack(rows) @ self._projection
        return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True), dtype=np.float32)


class TinyPreprocessor:
    """Pillow's decoding with the server's limits and errors, then 4 x 4 pixels."""

    image_size = 4

    def __call__(self, data: bytes) -> Pixels:
        return np.asarray(decode(data, ImageLimits()).convert("RGB").resize((4, 4)), dtype=np.uint8)


class TinyTokenizer:
    """One token a byte."""

    context_length = 77

    def __call__(self, text: str) -> Tokens:
        return Tokens(np.frombuffer(text.encode()[:77], dtype=np.uint8).astype(np.int64), len(text) > 77)


def tiny_encoders(weight_hash: str = "11" * 32) -> Encoders:
    """Everything that a bundle gives, of another making."""
    manifest = SimpleNamespace(weight_hash=weight_hash, dimension=DIMENSION)
    parts = SimpleNamespace(
        manifest=manifest,
        tokenizer=TinyTokenizer(),
        preprocessor=TinyPreprocessor(),
        text=TinyTower(),
        image=TinyTower(),
    )
    return cast(Encoders, parts)


def silent(stage: str, done: int, total: int) -> None:
    """Report to nobody."""


def main(source: str, out: str, stage: str, steps: str) -> None:
    def report(now: str, done: int, total: int) -> None:
        if now == stage and done >= int(steps):
            os.kill(os.getpid(), signal.SIGKILL)

    request = Request(Path(source), Path(out), metadata=Path(source) / "metadata.jsonl")
    build_with(tiny_encoders(), request, IndexOptions(kind=Kind.IVFPQ), report)


if __name__ == "__main__":
    main(*sys.argv[1:])
