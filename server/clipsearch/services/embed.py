"""Embedding texts and pictures through the encoder lanes."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipsearch.batching.lane import Lane
from clipsearch.errors import ClipsearchError, ComputeFailed
from clipsearch.ports import (
    ImageEncoder,
    ImagePreprocessor,
    Pixels,
    TextEncoder,
    TokenIds,
    Tokenizer,
    Vectors,
)
from clipsearch.services.call import Call, Stages
from clipsearch.services.limits import RequestLimits

Vector = NDArray[np.float32]
"""float32 [dimension], unit length."""

TextLane = Lane[TokenIds, Vector]
ImageLane = Lane[Pixels, Vector]


@dataclass(frozen=True, slots=True)
class Embedded:
    """One input's unit vector, whether its text was cut, and where the time went."""

    vector: Vector
    truncated: bool = False
    stages: Stages = field(default_factory=Stages)


@dataclass(frozen=True, slots=True)
class TextInput:
    """A text to embed."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An encoded picture to embed."""

    data: bytes


EmbedInput = TextInput | ImageInput


class EmbedService:
    """The embedding use cases. Called on the event loop; decodes on ``decoders``, computes on the lanes."""

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        preprocessor: ImagePreprocessor,
        text_lane: TextLane,
        image_lane: ImageLane,
        decoders: Executor,
        limits: RequestLimits,
    ) -> None:
        self._tokenizer = tokenizer
        self._preprocessor = preprocessor
        self._text_lane = text_lane
        self._image_lane = image_lane
        self._decoders = decoders
        self._limits = limits

    async def text(self, text: str, call: Call) -> Embedded:
        """Embed one text. Raises EmptyText, TextTooLarge, QueueFull, DeadlineExpired."""
        self._limits.check_text(text)
        self._text_lane.admission.enter(call.priority)
        try:
            return await self._text(text, call)
        finally:
            self._text_lane.admission.leave()

    async def image(self, data: bytes, call: Call) -> Embedded:
        """Embed one encoded picture. Raises the preprocessor's errors, QueueFull, DeadlineExpired."""
        self._image_lane.admission.enter(call.priority)
        try:
            return await self._image(data, call)
        finally:
            self._image_lane.admission.leave()

    async def batch(
        self, inputs: Sequence[EmbedInput | ClipsearchError], call: Call
    ) -> list[Embedded | ClipsearchError]:
        """Embed a mixed list; each input gets its embedding or its own error, and errors given are passed through.

        The whole batch is admitted or refused (QueueFull): half a batch would only make the caller send it again.
        """
        self._limits.check_batch(len(inputs), "inputs")
        texts = sum(isinstance(item, TextInput) for item in inputs)
        images = sum(isinstance(item, ImageInput) for item in inputs)
        self._text_lane.admission.enter(call.priority, texts)
        try:
            self._image_lane.admission.enter(call.priority, images)
            try:
                return list(await asyncio.gather(*(self._one(item, call) for item in inputs)))
            finally:
                self._image_lane.admission.leave(images)
        finally:
            self._text_lane.admission.leave(texts)

    async def when_free(self, item: EmbedInput, call: Call) -> Embedded:
        """Embed one input, waiting for a place in the lane instead of being refused: for streams."""
        admission = (self._text_lane if isinstance(item, TextInput) else self._image_lane).admission
        await admission.enter_when_free(call.priority)
        try:
            return await self._admitted(item, call)
        finally:
            admission.leave()

    async def _one(self, item: EmbedInput | ClipsearchError, call: Call) -> Embedded | ClipsearchError:
        if isinstance(item, ClipsearchError):
            return item
        try:
            return await self._admitted(item, call)
        except ClipsearchError as error:
            return error

    async def _admitted(self, item: EmbedInput, call: Call) -> Embedded:
        if isinstance(item, ImageInput):
            return await self._image(item.data, call)
        self._limits.check_text(item.text)
        return await self._text(item.text, call)

    async def _text(self, text: str, call: Call) -> Embedded:
        # Tokenising a query takes tens of microseconds, less than a hop to another thread and back.
        started = time.monotonic()
        tokens = self._tokenizer(text)
        preprocess_s = time.monotonic() - started
        answer = await self._text_lane.submit(
            tokens.ids, length=len(tokens.ids), priority=call.priority, deadline=call.deadline
        )
        return Embedded(answer.output, tokens.truncated, Stages(preprocess_s, answer.queued_s, answer.ran_s))

    async def _image(self, data: bytes, call: Call) -> Embedded:
        submitted = time.monotonic()
        try:
            pixels, started, finished = await asyncio.get_running_loop().run_in_executor(
                self._decoders, self._decode, data
            )
        except ClipsearchError as error:
            error.field = error.field or "image"
            raise
        answer = await self._image_lane.submit(pixels, priority=call.priority, deadline=call.deadline)
        queue_s = started - submitted + answer.queued_s
        return Embedded(answer.output, False, Stages(finished - started, queue_s, answer.ran_s))

    def _decode(self, data: bytes) -> tuple[Pixels, float, float]:
        """Runs on a decoder thread; the times tell waiting for it from working."""
        started = time.monotonic()
        pixels = self._preprocessor(data)
        return pixels, started, time.monotonic()


def encode_batch(
    encoder: TextEncoder | ImageEncoder, batch: Sequence[NDArray[np.generic]]
) -> list[Vector | ClipsearchError]:
    """Run one batch through a tower, as a lane's run function; rows that are not finite fail alone."""
    vectors: Vectors = encoder.encode(batch)  # type: ignore[arg-type]  # the lane's own item type
    # A sum is finite only if every term is (unit vectors cannot overflow), and is one pass without a temporary.
    finite = np.isfinite(vectors.sum(axis=1))
    if finite.all():
        return list(vectors)
    return [
        vector if ok else ComputeFailed("the encoder returned a vector that is not finite")
        for vector, ok in zip(vectors, finite, strict=True)
    ]
