"""What goes in and what comes out: plain frozen values, no protobuf.

An input's type says what it is, so nothing needs wrapping: ``str`` is always a text (never a file name), ``bytes`` an
encoded picture, and a ``Path`` a picture file, read when it is sent.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""float32 [dimension]; of unit length when it comes from the server."""

Picture = bytes | Path
"""An encoded picture (JPEG, PNG, WebP, GIF, BMP or TIFF), or the file that holds one."""

Input = str | bytes | Path
"""A text, an encoded picture, or a picture file."""

View = Literal["basic", "metadata", "full"]
"""How much of each hit to return: id and score; and metadata; and metadata and the stored vector."""

Transport = Literal["float32", "float16"]
"""How vectors come over the wire: float16 halves the bytes and keeps cosines within about 0.001."""

Priority = Literal["interactive", "bulk"]
"""The queue that a request joins; None stands for the method's own default."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the server spent its time, in microseconds; zero for stages that did not run."""

    preprocess_us: int
    queue_us: int
    encode_us: int
    search_us: int
    total_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The embedding of one input; ``truncated`` says that a text was longer than the model's context and was cut."""

    vector: Vector
    truncated: bool
    timings: Timings


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What to look for: exactly one of a text, a picture, a vector (any length, float [dimension]) or an item's id."""

    text: str | None = None
    image: Picture | None = None
    vector: NDArray[np.floating[Any]] | None = None
    item_id: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError unless exactly one kind is given and a vector is one-dimensional."""
        given = [k for k in ("text", "image", "vector", "item_id") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of text, image, vector or item_id, not {' and '.join(given) or 'none'}")
        if self.vector is not None and np.ndim(self.vector) != 1:
            raise ValueError(f"vector must have one dimension, not the shape {np.shape(self.vector)}")


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """One item found: ``score`` is its exact cosine to the query; what the view leaves out is None."""

    id: str
    score: float
    metadata: dict[str, Any] | None
    vector: Vector | None


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """The nearest items, best first; ``truncated`` says that the query's text was cut to the model's context."""

    hits: tuple[Hit, ...]
    truncated: bool
    timings: Timings


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The facts of the served model.

    ``source`` is the checkpoint's name; vectors of different ``weight_hash`` do not compare; ``dimension`` is the
    length of a vector, ``context_length`` that of the longest text in tokens, ``image_size`` the side in pixels that
    pictures are brought to; ``precision`` is fp32, fp16 or int8; ``softmax(logit_scale * cosine)`` gives CLIP's
    probabilities.
    """

    source: str
    weight_hash: str
    dimension: int
    context_length: int
    image_size: int
    precision: str
    logit_scale: float
