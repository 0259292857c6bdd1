"""The sample catalogue's own embeddings: real ones, of a small CLIP, where the clustered vectors are only like them."""

from pathlib import Path

import numpy as np

from benchmarks.clustered_vectors import Clustered
from benchmarks.harness.models import SAMPLE_BUNDLE, sample
from benchmarks.harness.workload import captions
from clipsearch.encoders.load import load_encoders
from clipsearch.index.storage import open_index


def sample_vectors(work: Path, items: int, queries: int, seed: int) -> Clustered:
    """Draw and embed ``items`` products, and hold ``queries`` of their pictures out as queries; captions are the texts.

    Kept in ``work``, where ``serving.py`` keeps the same catalogue.
    """
    made = sample(work, SAMPLE_BUNDLE, items, seed)
    index = open_index(made.data / "default", "cpu").index
    pictures = index.vectors(np.random.default_rng(seed).permutation(index.size))
    encoders = load_encoders(made.bundle)
    texts = [encoders.tokenizer(text).ids for text in captions(queries, seed + 1, full=False)]
    blocks = [encoders.text.encode(texts[start : start + 64]) for start in range(0, len(texts), 64)]
    return Clustered(pictures[queries:], pictures[:queries], np.concatenate(blocks))
