"""Zero-shot labels: which of some words fits a picture best, without training anything.

    pip install 'clipsearch[examples]'
    python examples/zero_shot.py photo.jpg other.jpg --labels dress shirt boots --server localhost:50051

Each label becomes a sentence, as the model has learnt from captions and not from single words. The probabilities are
those that CLIP was trained with: the softmax, over the labels, of cosines times the model's own ``logit_scale``. They
say which of *these* labels fits best, so put in all that it could be.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch.client import Client, ClientError, Input


def embedded(client: Client, inputs: Sequence[Input]) -> NDArray[np.float32]:
    """Return the unit vectors of texts or picture files, float32 [n, dimension]; raises the first error."""
    vectors = []
    for given, result in zip(inputs, client.embed_batch(inputs), strict=True):
        if isinstance(result, ClientError):
            raise SystemExit(f"{given!r}: {result}")
        vectors.append(result.vector)
    return np.stack(vectors)


def probabilities(
    pictures: NDArray[np.float32], labels: NDArray[np.float32], logit_scale: float
) -> NDArray[np.float32]:
    """Return how likely each label is for each picture, float32 [pictures, labels]; rows add up to 1."""
    logits = logit_scale * pictures @ labels.T
    # Less the largest, so that exp() cannot overflow.
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    likely: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
    return likely


def main() -> None:
    """Label the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--labels", nargs="+", required=True)
    parser.add_argument("--prompt", default="a photo of a {}", help="the sentence for a label, which stands at {}")
    parser.add_argument("--server", default="localhost:50051", help="HOST:PORT")
    arguments = parser.parse_args()
    with Client(arguments.server) as client:
        labels = embedded(client, [arguments.prompt.format(label) for label in arguments.labels])
        pictures = embedded(client, arguments.pictures)
        likely = probabilities(pictures, labels, client.model().logit_scale)
    for picture, row in zip(arguments.pictures, likely, strict=True):
        best = np.argsort(-row, kind="stable")
        print(picture, *(f"{arguments.labels[label]} {row[label]:.3f}" for label in best), sep="  ")


if __name__ == "__main__":
    main()
