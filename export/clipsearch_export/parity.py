"""The parity gate: a bundle served by our encoders against its checkpoint run by transformers, each from raw input.

Our side gets the strings and the encoded pictures and runs tokenizer, preprocessing and graphs as the server does, in
batches of mixed lengths. The other side is transformers' processor and model alone, with its own padding and masks.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clipsearch.encoders.manifest import Bundle, Parity, Precision, TowerParity
from clipsearch.encoders.preprocess import PillowPreprocessor
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.encoders.tokenizer import BpeTokenizer
from clipsearch.encoders.towers import OnnxImageEncoder, OnnxTextEncoder
from clipsearch.ports import TokenIds, Vectors
from clipsearch_export.cases import Case, pictures, texts
from clipsearch_export.checkpoint import Checkpoint
from clipsearch_export.errors import ExportError

SEED: Final = 20240229
_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Requirement:
    """The least cosines that a precision must reach, over all cases of each tower."""

    min_cosine: float
    mean_cosine: float


REQUIREMENTS: Final[dict[Precision, Requirement]] = {
    "fp32": Requirement(min_cosine=0.9999, mean_cosine=0.9999),
    "fp16": Requirement(min_cosine=0.999, mean_cosine=0.999),
    "int8": Requirement(min_cosine=-1.0, mean_cosine=0.99),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One tower compared: its figures, its worst case, and how far apart the reference's own vectors are.

    ``spread`` is the median cosine between different cases' reference vectors; near 1 the model hardly tells its inputs
    apart, and high cosines mean little.
    """

    figure: TowerParity
    worst: str
    spread: float


@dataclass(frozen=True, slots=True)
class GateReport:
    """Both towers' comparisons."""

    text: Comparison
    image: Comparison

    @property
    def parity(self) -> Parity:
        """The figures that go into the manifest."""
        return Parity(text=self.text.figure, image=self.image.figure)


def compare(bundle: Bundle, checkpoint: Checkpoint) -> GateReport:
    """Run all cases through both sides, on the CPU."""
    options = RuntimeOptions(device="cpu")
    sentences = texts(_words(checkpoint), bundle.manifest.context_length, SEED)
    images = pictures(SEED)
    tokenizer = BpeTokenizer.of(bundle)
    preprocess = PillowPreprocessor(bundle.manifest.preprocess, bundle.manifest.image_size)
    text_encoder = OnnxTextEncoder(bundle, options)
    text_vectors = _in_batches(text_encoder.encode, _tokenised(tokenizer, sentences, checkpoint.source))
    image_encoder = OnnxImageEncoder(bundle, options)
    image_vectors = _in_batches(image_encoder.encode, [preprocess(data) for _, data in images])
    return GateReport(
        text=_compared(text_vectors, reference_texts(checkpoint, sentences), [repr(text[:40]) for text in sentences]),
        image=_compared(image_vectors, reference_images(checkpoint, images), [name for name, _ in images]),
    )


def require(report: GateReport, precision: Precision) -> None:
    """Raise ExportError where a tower falls short of what its precision must reach."""
    least = REQUIREMENTS[precision]
    for tower, comparison in (("text", report.text), ("image", report.image)):
        figure = comparison.figure
        # Written so that NaN fails too.
        if not (figure.min_cosine >= least.min_cosine and figure.mean_cosine >= least.mean_cosine):
            raise ExportError(
                f"The {tower} tower at {precision} falls short of parity with the checkpoint: cosine at least "
                f"{figure.min_cosine:.6f} ({comparison.worst}) and {figure.mean_cosine:.6f} on average, "
                f"with {least.min_cosine} and {least.mean_cosine} required; no bundle was written."
            )


def reference_texts(checkpoint: Checkpoint, sentences: Sequence[str]) -> Vectors:
    """Embed texts by transformers, padded and masked as it does: float32 [n, dimension], rows of unit length."""
    features = []
    for start in range(0, len(sentences), _BATCH):
        inputs = checkpoint.tokenizer(
            list(sentences[start : start + _BATCH]),
            padding=True,
            truncation=True,
            max_length=checkpoint.context_length,
            return_tensors="pt",
        )
        with torch.inference_mode():
            features.append(checkpoint.model.get_text_features(**inputs))
    return _normalised(features)


def reference_images(checkpoint: Checkpoint, images: Sequence[Case]) -> Vectors:
    """Embed encoded pictures by transformers: float32 [n, dimension], rows of unit length."""
    features = []
    for start in range(0, len(images), _BATCH):
        inputs = checkpoint.image_processor(
            [reference_picture(data) for _, data in images[start : start + _BATCH]],
            return_tensors="pt",
            # Else the processor takes a picture three pixels high for one of three channels.
            input_data_format="channels_last",
        )
        with torch.inference_mode():
            features.append(checkpoint.model.get_image_features(**inputs))
    return _normalised(features)


def reference_picture(data: bytes) -> Image.Image:
    """Decode to RGB by Pillow's own means, with what transformers leaves to its caller: orientation, alpha, 16 bits."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) // 256).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return picture.convert("RGB")


def _tokenised(tokenizer: BpeTokenizer, sentences: Sequence[str], source: str) -> list[TokenIds]:
    try:
        return [tokenizer(text).ids for text in sentences]
    except Exception as exc:  # the binding raises bare Exception and nothing else
        raise ExportError(f"The tokenizer of {source} cannot take every text: {exc}.") from exc


def _in_batches(encode: Any, items: Sequence[NDArray[Any]]) -> Vectors:
    return np.concatenate([encode(items[n : n + _BATCH]) for n in range(0, len(items), _BATCH)])


def _normalised(features: Sequence[torch.Tensor]) -> Vectors:
    stacked = torch.cat(list(features))
    vectors: Vectors = torch.nn.functional.normalize(stacked, dim=-1).numpy()
    return vectors


def _compared(ours: Vectors, reference: Vectors, names: Sequence[str]) -> Comparison:
    exact = reference.astype(np.float64)
    cosines = (ours.astype(np.float64) * exact).sum(axis=1)
    worst = int(np.argmin(cosines))
    between = (exact @ exact.T)[np.triu_indices(len(exact), k=1)]
    return Comparison(
        figure=TowerParity(len(cosines), float(cosines[worst]), float(cosines.mean())),
        worst=names[worst],
        spread=float(np.median(between)),
    )


def _words(checkpoint: Checkpoint) -> list[str]:
    """Give words that the vocabulary has whole, so that texts of n words have about n tokens."""
    end_of_word = "</w>"
    words = {
        token.removesuffix(end_of_word) for token in checkpoint.tokenizer.get_vocab() if token.endswith(end_of_word)
    }
    plain = sorted(word for word in words if re.fullmatch("[a-z]{2,}", word))
    return plain or ["red", "green", "blue", "shirt", "shoe", "bag", "with", "and", "a", "of"]
