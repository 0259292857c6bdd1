"""Embedding texts and pictures through the encoder lanes, and searching with what was embedded, on the same worker."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipsearch.batching.lane import Answer, Lane
from clipsearch.errors import ClipsearchError, ComputeFailed
from clipsearch.ports import (
    ImagePreprocessor,
    Pixels,
    TokenIds,
    Tokenizer,
    Vectors,
)
from clipsearch.services.call import Call, Stages
from clipsearch.services.limits import RequestLimits
from clipsearch.services.searcher import Found, Neighbours, Probe, Searcher, Vector

Input = TypeVar("Input", bound=NDArray[np.generic])

PreprocessObserver = Callable[[str, float, float, ClipsearchError | None], None]
"""Told of every input that was decoded or tokenised, on the event loop: its lane's name, when that began and ended on
``time.monotonic``, and the error where it failed."""


@dataclass(frozen=True, slots=True)
class Encode(Generic[Input]):
    """An item of an encoder lane: what to encode, and what to look for around its vector, if anything."""

    values: Input
    probe: Probe | None


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an encoder lane returns: the unit vector, and what was found around it where that was asked."""

    vector: Vector
    near: Neighbours | None = None


TextLane = Lane[Encode[TokenIds], Encoded]
ImageLane = Lane[Encode[Pixels], Encoded]


@dataclass(frozen=True, slots=True)
class Embedded:
    """One input's unit vector, whether its text was cut, where the time went, and what a probe found."""

    vector: Vector
    truncated: bool = False
    stages: Stages = field(default_factory=Stages)
    near: Neighbours | None = None


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
        observers: Sequence[PreprocessObserver] = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._preprocessor = preprocessor
        self._text_lane = text_lane
        self._image_lane = image_lane
        self._decoders = decoders
        self._limits = limits
        self._observers = observers

    async def text(self, text: str, call: Call, probe: Probe | None = None) -> Embedded:
        """Embed one text, and search with it if given a probe. Raises EmptyText, TextTooLarge, QueueFull,
        DeadlineExpired.
        """
        self._limits.check_text(text)
        self._text_lane.admission.enter(call.priority)
        try:
            return await self._text(text, call, probe)
        finally:
            self._text_lane.admission.leave()

    async def image(self, data: bytes, call: Call, probe: Probe | None = None) -> Embedded:
        """Embed one encoded picture, and search with it if given a probe.

        Raises the preprocessor's errors, QueueFull, DeadlineExpired.
        """
        self._image_lane.admission.enter(call.priority)
        try:
            return await self._image(data, call, probe)
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
            return await self._image(item.data, call, None)
        self._limits.check_text(item.text)
        return await self._text(item.text, call, None)

    async def _text(self, text: str, call: Call, probe: Probe | None) -> Embedded:
        # Tokenising a query takes tens of microseconds, less than a hop to another thread and back.
        started = time.monotonic()
        tokens = self._tokenizer(text)
        finished = time.monotonic()
        self._preprocessed("text", started, finished)
        answer = await self._text_lane.submit(
            Encode(tokens.ids, probe), length=len(tokens.ids), priority=call.priority, deadline=call.deadline
        )
        return _embedded(answer, tokens.truncated, finished - started)

    async def _image(self, data: bytes, call: Call, probe: Probe | None) -> Embedded:
        submitted = time.monotonic()
        try:
            pixels, started, finished = await asyncio.get_running_loop().run_in_executor(
                self._decoders, self._decode, data
            )
        except ClipsearchError as error:
            error.field = error.field or "image"
            self._preprocessed("image", submitted, time.monotonic(), error)
            raise
        self._preprocessed("image", started, finished)
        answer = await self._image_lane.submit(Encode(pixels, probe), priority=call.priority, deadline=call.deadline)
        embedded = _embedded(answer, False, finished - started)
        embedded.stages.queue_s += started - submitted
        return embedded

    def _preprocessed(self, lane: str, started: float, finished: float, error: ClipsearchError | None = None) -> None:
        for observer in self._observers:
            observer(lane, started, finished, error)

    def _decode(self, data: bytes) -> tuple[Pixels, float, float]:
        """Runs on a decoder thread; the times tell waiting for it from working."""
        started = time.monotonic()
        pixels = self._preprocessor(data)
        return pixels, started, time.monotonic()


def _embedded(answer: Answer[Encoded], truncated: bool, preprocess_s: float) -> Embedded:
    near = answer.output.near
    search_s = searched_s(answer.output)
    stages = Stages(preprocess_s, answer.queued_s, answer.ran_s - search_s, search_s)
    return Embedded(answer.output.vector, truncated, stages, near)


def searched_s(output: object) -> float:
    """The part of its batch's run that went into searching, of an output of an encoder lane; 0 where none did."""
    return output.near.searched_s if isinstance(output, Encoded) and output.near is not None else 0.0


def encode_batch(
    encode: Callable[[Sequence[Input]], Vectors], searcher: Searcher | None, batch: Sequence[Encode[Input]]
) -> list[Encoded | ClipsearchError]:
    """Run one batch through a tower and search for those that ask for it, as a lane's run function.

    Rows that are not finite fail alone. ``searcher`` is None where there is no index, and then no item asks.
    """
    vectors = encode([item.values for item in batch])
    # A sum is finite only if every term is (unit vectors cannot overflow), and is one pass without a temporary.
    finite = np.isfinite(vectors.sum(axis=1))
    probes = {i: item.probe for i, item in enumerate(batch) if item.probe is not None and finite[i]}
    found: dict[int, Found] = {}
    if searcher is not None and probes:
        queries = vectors if len(probes) == len(batch) else vectors[list(probes)]
        found = dict(zip(probes, searcher.search(queries, list(probes.values())), strict=True))
    outputs: list[Encoded | ClipsearchError] = []
    for i, vector in enumerate(vectors):
        near = found.get(i)
        if not finite[i]:
            outputs.append(ComputeFailed("the encoder returned a vector that is not finite"))
        elif isinstance(near, ClipsearchError):
            outputs.append(near)
        else:
            outputs.append(Encoded(vector, near))
    return outputs
