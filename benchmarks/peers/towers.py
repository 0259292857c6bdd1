"""The work that every peer with our graphs does: imported inside the peer's environment, without anything else of ours.

Tokenizer, decoding and ONNX Runtime's sessions are the very code that clipsearch runs, so that what differs is the
serving; padding and resizing are what everybody does, unless ours are lent. A server reads what it is to do from the
environment, since some of these frameworks read the command line themselves and most start processes of their own.
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
    and 0 to the longest of its batch. ``as_ours``: that padding is not computed, and pictures are resized with vector
    instructions, as by clipsearch; else Pillow resizes them.
    """

    model: str
    port: int
    workers: int
    threads: int
    length: int
    as_ours: bool
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
        from clipsearch.encoders.manifest import load_bundle
        from clipsearch.encoders.preprocess import PillowPreprocessor
        from clipsearch.encoders.resize import resize, resize_by_pillow
        from clipsearch.encoders.runtime import PooledGraph, RuntimeOptions
        from clipsearch.encoders.tokenizer import BpeTokenizer
        from clipsearch.encoders.towers import OnnxImageEncoder

        bundle, options = load_bundle(task.model), RuntimeOptions(device="cpu", threads=task.threads)
        manifest = bundle.manifest
        self._length, self._packed, self._pad_id = task.length, task.as_ours, manifest.pad_id
        self._tokenizer = BpeTokenizer.of(bundle)
        self._text = PooledGraph.load(bundle.text_graph, manifest, options)
        self._image = OnnxImageEncoder(bundle, options)
        self._image.warm_up()
        way = resize if task.as_ours else resize_by_pillow
        self.decode = PillowPreprocessor(manifest.preprocess, manifest.image_size, resize=way)
        """A JPEG to uint8 [size, size, 3]."""

    def texts(self, texts: Sequence[str]) -> "list[bytes]":
        """Embed texts in one run; returns float32 vectors as bytes."""
        ids = [self._tokenizer(text).ids for text in texts]
        lengths = [len(one) for one in ids]
        padded = np.full((len(ids), max(self._length, *lengths)), self._pad_id, dtype=np.int64)
        for row, one in zip(padded, ids, strict=True):
            row[: len(one)] = one
        vectors = self._text.run(padded.shape, lambda into: np.copyto(into, padded), lengths if self._packed else None)
        return [vector.tobytes() for vector in vectors]

    def images(self, pixels: "Sequence[NDArray[np.uint8]]") -> "list[bytes]":
        """Embed decoded pictures in one run; returns float32 vectors as bytes."""
        return [vector.tobytes() for vector in self._image.encode(pixels)]
