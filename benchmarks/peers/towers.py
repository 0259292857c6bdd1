"""The work that every peer with our graphs does: imported inside the peer's environment, without anything else of ours.

Tokenizer, decoding, resizing and ONNX Runtime's sessions are the very code that clipsearch runs, so that what differs
is the serving. A server reads what it is to do from the environment, since some of these frameworks read the command
line themselves and most start processes of their own.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

VARIABLE = "CLIPSEARCH_PEER"


@dataclass(frozen=True)
class Task:
    """What a server serves: a bundle (a checkpoint for those on PyTorch), where, and how.

    ``workers`` processes or threads run ``threads`` threads each. ``length`` pads every text to so many tokens,
    and 0 to the longest of its batch; with ``packed`` that padding is not computed, as by clipsearch.
    """

    model: str
    port: int
    workers: int
    threads: int
    length: int
    packed: bool
    texts_at_once: int
    images_at_once: int

    def environment(self) -> "dict[str, str]":
        """Return what tells a server its task."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def read(cls) -> "Task":
        """Return the task of this process."""
        return cls(**json.loads(os.environ[VARIABLE]))


class Towers:
    """Tokenizer, preprocessing and both encoders of a bundle."""

    def __init__(self, task: Task) -> None:
        from clipsearch.encoders.load import load_encoders
        from clipsearch.encoders.runtime import RuntimeOptions

        self._encoders = load_encoders(task.model, RuntimeOptions(device="cpu", threads=task.threads))
        self._length, self._packed, self._pad_id = task.length, task.packed, self._encoders.manifest.pad_id
        self.decode = self._encoders.preprocessor
        """A JPEG to uint8 [size, size, 3]."""

    def texts(self, texts: Sequence[str]) -> "list[bytes]":
        """Embed texts in one run; returns float32 vectors as bytes."""
        ids = [self._encoders.tokenizer(text).ids for text in texts]
        if not self._packed:
            longest = max(self._length, *map(len, ids))
            ids = [np.pad(one, (0, longest - len(one)), constant_values=self._pad_id) for one in ids]
        return [vector.tobytes() for vector in self._encoders.text.encode(ids)]

    def images(self, pixels: "Sequence[NDArray[np.uint8]]") -> "list[bytes]":
        """Embed decoded pictures in one run; returns float32 vectors as bytes."""
        return [vector.tobytes() for vector in self._encoders.image.encode(pixels)]
