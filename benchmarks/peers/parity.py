"""Whether a peer computes what we do: checked before it is measured, so that the same work is compared."""

from collections.abc import Sequence

import numpy as np

from benchmarks.peers.contenders import Float32

SMALLEST_COSINE = 0.999


class OtherWork(Exception):
    """A peer's embeddings are not ours."""


def check(name: str, vectors: Sequence[Float32], expected: Float32) -> float:
    """Return the smallest cosine between a peer's vectors and ours, float32 [n, d].

    Raises OtherWork where one is below 0.999, is not finite or has another length. The vectors' norms don't matter:
    some peers normalise and some don't.
    """
    if len(vectors) != len(expected):
        raise OtherWork(f"{name} gave {len(vectors)} vectors for {len(expected)} inputs")
    smallest = 1.0
    for number, (vector, ours) in enumerate(zip(vectors, expected, strict=True)):
        if vector.shape != ours.shape:
            raise OtherWork(f"{name}'s vector of input {number} has the shape {vector.shape} and ours {ours.shape}")
        norms = float(np.linalg.norm(vector) * np.linalg.norm(ours))
        cosine = float(vector @ ours) / norms if norms > 0.0 else 0.0
        # Written so that a NaN fails.
        if not cosine >= SMALLEST_COSINE:
            raise OtherWork(f"{name}'s vector of input {number} has a cosine of {cosine:.4f} with ours")
        smallest = min(smallest, cosine)
    return smallest
