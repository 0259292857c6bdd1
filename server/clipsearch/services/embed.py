"""Embedding texts and pictures through the encoder lanes, and searching with what was embedded, on the same worker."""

import asyncio
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipsearch.batching.admission import Admission
from clipsearch.batching.lane import Answer, Lane
from clipsearch.batching.places import NEVER, Demand, Place
from clipsearch.batching.preparation import Preparation
from clipsearch.errors import ClipsearchError, ComputeFailed
from clipsearch.ports import ImagePreprocessor, Pixels, TokenIds, Vectors
from clipsearch.services.call import Call, Stages
from clipsearch.services.limits import RequestLimits
from clipsearch.services.query_cache import QueryCache
from clipsearch.services.searcher import Found, Neighbours, Probe, Searcher, Vector
from clipsearch.services.serving import Model, Pinned, Serving

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


TextLane = Lane[Pinned[Encode[TokenIds]], Encoded]
ImageLane = Lane[Pinned[Encode[Pixels]], Encoded]


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
    """The embedding use cases. Called on the event loop; decodes by ``preparation``, computes on the lanes.

    Each takes the model to embed with, None for the one that serves now.
    """

    def __init__(
        self,
        *,
        serving: Serving,
        text_lane: TextLane,
        image_lane: ImageLane,
        preparation: Preparation,
        queries: QueryCache,
        limits: RequestLimits,
        observers: Sequence[PreprocessObserver] = (),
    ) -> None:
        self.serving = serving
        self._text_lane = text_lane
        self._image_lane = image_lane
        self._preparation = preparation
        self._queries = queries
        self._limits = limits
        self._observers = observers

    async def text(self, text: str, call: Call, probe: Probe | None = None, model: Model | None = None) -> Embedded:
        """Embed one text, and search with it if given a probe. Raises EmptyText, TextTooLarge, what the lane's
        admission raises, and DeadlineExpired. With a probe, ask ``known`` first.
        """
        self._limits.check_text(text)
        model = model or self.serving.model
        if probe is None and (known := self.known(model, text)) is not None:
            return known
        with self._text_lane.admission.enter(self._demand_of_text(model, text, call)) as place:
            embedded = await self._text(model, text, call, probe, place)
        self._queries.put(model.facts, text, embedded.vector, embedded.truncated)
        return embedded

    def known(self, model: Model, text: str) -> Embedded | None:
        """Return what ``text`` gave for the same text before, if that is kept; it took no time."""
        kept = self._queries.get(model.facts, text)
        return None if kept is None else Embedded(*kept)

    async def image(self, data: bytes, call: Call, probe: Probe | None = None, model: Model | None = None) -> Embedded:
        """Embed one encoded picture, and search with it if given a probe.

        Raises the preprocessor's errors, what the lane's admission raises, and DeadlineExpired.
        """
        model = model or self.serving.model
        with self._image_lane.admission.enter(self._demand_of_images(model, [data], call)[0]) as place:
            return await self._image(model, data, call, probe, place)

    async def batch(
        self, inputs: Sequence[EmbedInput | ClipsearchError], call: Call, model: Model | None = None
    ) -> list[Embedded | ClipsearchError]:
        """Embed a mixed list; each input gets its embedding or its own error, and errors given are passed through.

        The whole batch is admitted or refused: half a batch would only make the caller send it again.
        """
        self._limits.check_batch(len(inputs), "inputs")
        model = model or self.serving.model
        texts = [self._demand_of_text(model, item.text, call) for item in inputs if isinstance(item, TextInput)]
        images = self._demand_of_images(model, [item.data for item in inputs if isinstance(item, ImageInput)], call)
        # An item leaves when it is done; the stack is for those that never begin, as the call is cancelled.
        with ExitStack() as stack:
            text_places = self._entered(self._text_lane.admission, texts, stack)
            image_places = self._entered(self._image_lane.admission, images, stack)
            tasks = [
                self._one(model, item, call, next(image_places if isinstance(item, ImageInput) else text_places))
                if isinstance(item, TextInput | ImageInput)
                else _failed(item)
                for item in inputs
            ]
            return list(await asyncio.gather(*tasks))

    async def when_free(self, item: EmbedInput, call: Call, model: Model) -> Embedded:
        """Embed one input, waiting for a place in the lane instead of being refused: for streams."""
        if isinstance(item, TextInput):
            self._limits.check_text(item.text)
            with await self._text_lane.admission.enter_when_free(self._demand_of_text(model, item.text, call)) as place:
                return await self._text(model, item.text, call, None, place)
        demand = self._demand_of_images(model, [item.data], call)[0]
        with await self._image_lane.admission.enter_when_free(demand) as place:
            return await self._image(model, item.data, call, None, place)

    def _demand_of_text(self, model: Model, text: str, call: Call) -> Demand:
        """Estimated, since whoever is refused should not be tokenised first: some four bytes are a token."""
        return call.demand(self._text_lane.admission, min(2 + len(text) // 4, model.tokenizer.context_length))

    def _demand_of_images(self, model: Model, pictures: Sequence[bytes], call: Call) -> list[Demand]:
        ready_s = 0.0 if call.deadline == NEVER else self._preparation.finish_s([len(data) for data in pictures])
        admission, pixel_bytes = self._image_lane.admission, 3 * model.preprocessor.image_size**2
        return [call.demand(admission, 1, len(data) + pixel_bytes, ready_s) for data in pictures]

    @staticmethod
    def _entered(admission: Admission, demands: Sequence[Demand], stack: ExitStack) -> Iterator[Place]:
        places = admission.enter_together(demands)
        for place in places:
            stack.callback(place.leave)
        return iter(places)

    async def _one(self, model: Model, item: EmbedInput, call: Call, place: Place) -> Embedded | ClipsearchError:
        try:
            with place:
                if isinstance(item, ImageInput):
                    return await self._image(model, item.data, call, None, place)
                self._limits.check_text(item.text)
                return await self._text(model, item.text, call, None, place)
        except ClipsearchError as error:
            return error

    async def _text(self, model: Model, text: str, call: Call, probe: Probe | None, place: Place) -> Embedded:
        # Tokenising a query takes tens of microseconds, less than a hop to another thread and back.
        started = time.monotonic()
        tokens = model.tokenizer(text)
        finished = time.monotonic()
        self._preprocessed("text", started, finished)
        length = len(tokens.ids)
        place.recost(length)
        answer = await self._text_lane.submit(
            Pinned(model, Encode(tokens.ids, probe)),
            length=length,
            priority=call.priority,
            deadline=call.deadline,
            caller=place.caller,
        )
        return _embedded(answer, tokens.truncated, finished - started)

    async def _image(self, model: Model, data: bytes, call: Call, probe: Probe | None, place: Place) -> Embedded:
        submitted = time.monotonic()
        try:
            pixels, started, finished = await self._preparation.run(
                functools.partial(_decode, model.preprocessor),
                data,
                priority=call.priority,
                deadline=call.deadline,
                caller=place.caller,
            )
        except ClipsearchError as error:
            error.field = error.field or "image"
            self._preprocessed("image", submitted, time.monotonic(), error)
            raise
        self._preparation.took(len(data), finished - started)
        self._preprocessed("image", started, finished)
        answer = await self._image_lane.submit(
            Pinned(model, Encode(pixels, probe)),
            priority=call.priority,
            deadline=call.deadline,
            caller=place.caller,
        )
        embedded = _embedded(answer, False, finished - started)
        embedded.stages.queue_s += started - submitted
        return embedded

    def _preprocessed(self, lane: str, started: float, finished: float, error: ClipsearchError | None = None) -> None:
        for observer in self._observers:
            observer(lane, started, finished, error)


def _decode(preprocessor: ImagePreprocessor, data: bytes) -> tuple[Pixels, float, float]:
    """Runs on a decoder thread; the times tell waiting for it from working."""
    started = time.monotonic()
    pixels = preprocessor(data)
    return pixels, started, time.monotonic()


async def _failed(error: ClipsearchError) -> ClipsearchError:
    return error


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
