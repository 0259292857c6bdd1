"""Seeded vectors that are clustered the way CLIP embeddings are, for judging recall where no real ones can be had.

Uniform random vectors have no neighbourhoods: every code is equally wrong and recall says nothing. This generator keeps
the properties that decide how an inverted file with product codes behaves:

* two levels of clusters with Zipf-like sizes (few big groups, many small ones), so that lists are uneven;
* variance inside a cluster that decays over the coordinates of a random basis as ``i ** -0.5``, so that the intrinsic
  dimension is far below the nominal one;
* a common offset per modality: pictures of CLIP agree with each other at a cosine of about 0.5 whatever they show, and
  texts agree with pictures at 0.2 to 0.3 (the "modality gap" of Liang et al., 2022, arXiv:2203.02053). Text queries are
  therefore *off* the clusters that the coarse quantiser was trained on, which is what makes them harder to serve.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Clustered:
    """``base`` [n, d] to be indexed, ``image_queries`` and ``text_queries`` [q, d], all float32 of unit length."""

    base: Float32
    image_queries: Float32
    text_queries: Float32


def unit(x: Float32) -> Float32:
    """Rows scaled to unit length."""
    out: Float32 = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return out


def clustered(n: int, d: int, queries: int = 500, seed: int = 0, clusters: int | None = None) -> Clustered:
    """Return ``n`` vectors of ``d`` coordinates and ``queries`` held-out queries of each modality.

    ``clusters`` defaults to about ``2 * sqrt(n)``. The same arguments give the same vectors on every machine whose
    numpy shares the PCG64 stream.
    """
    rng = np.random.default_rng(seed)
    fine = clusters or max(8, int(2 * n**0.5))
    coarse = max(2, int(fine**0.5))
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    spectrum = (np.arange(1, d + 1, dtype=np.float32) ** -0.5)[None, :]
    spectrum *= np.sqrt(d / np.square(spectrum).sum())
    shape = (basis * spectrum.T).astype(np.float32)  # rows: directions by falling variance

    def noise(count: int) -> Float32:
        out: Float32 = (rng.standard_normal((count, d), dtype=np.float32) @ shape) / np.float32(d**0.5)
        return out

    parents = noise(coarse)
    centres = parents[rng.integers(0, coarse, fine)] + 0.8 * noise(fine)
    weights = 1.0 / np.arange(1, fine + 1) ** 0.7
    weights /= weights.sum()
    image_offset, text_offset = unit(rng.standard_normal((2, d), dtype=np.float32)) * np.float32(1.2)

    def pictures(count: int) -> Float32:
        out = np.empty((count, d), dtype=np.float32)
        for start in range(0, count, 65536):
            m = min(65536, count - start)
            of = rng.choice(fine, m, p=weights)
            out[start : start + m] = unit(image_offset + centres[of] + 0.7 * noise(m))
        return out

    def texts(count: int) -> Float32:
        of = rng.choice(fine, count, p=weights)
        return unit(text_offset + 0.8 * centres[of] + 1.2 * noise(count))

    return Clustered(pictures(n), pictures(queries), texts(queries))
