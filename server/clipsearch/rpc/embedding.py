"""EmbeddingService: parse, call the use case, convert."""

import time
from collections.abc import AsyncIterator, Sequence

from clipsearch.errors import ClipsearchError
from clipsearch.ports import Priority
from clipsearch.rpc import convert
from clipsearch.rpc.observed import Context, Observed
from clipsearch.rpc.status import answers_errors, to_status
from clipsearch.rpc.stream import pump, writer
from clipsearch.services.call import Stages
from clipsearch.services.embed import Embedded, EmbedInput, EmbedService
from clipsearch.v1 import embedding_pb2 as pb
from clipsearch.v1 import embedding_pb2_grpc


class EmbeddingServicer(Observed, embedding_pb2_grpc.EmbeddingServiceServicer):
    """The embedding RPCs."""

    def __init__(self, service: EmbedService, stream_window: int) -> None:
        self._service = service
        self._stream_window = stream_window

    @answers_errors
    async def EmbedText(self, request: pb.EmbedTextRequest, context: Context) -> pb.EmbedTextResponse:
        call = convert.call_of(context, request.priority, Priority.INTERACTIVE)
        format_ = convert.check_format(request.format)
        embedded = await self._service.text(request.text, call)
        return pb.EmbedTextResponse(
            embedding=convert.embedding(embedded.vector, format_),
            truncated=embedded.truncated,
            timings=convert.timings(embedded.stages, call.started),
        )

    @answers_errors
    async def EmbedImage(self, request: pb.EmbedImageRequest, context: Context) -> pb.EmbedImageResponse:
        call = convert.call_of(context, request.priority, Priority.INTERACTIVE)
        format_ = convert.check_format(request.format)
        embedded = await self._service.image(request.image, call)
        return pb.EmbedImageResponse(
            embedding=convert.embedding(embedded.vector, format_),
            timings=convert.timings(embedded.stages, call.started),
        )

    @answers_errors
    async def BatchEmbed(self, request: pb.BatchEmbedRequest, context: Context) -> pb.BatchEmbedResponse:
        call = convert.call_of(context, request.priority, Priority.BULK)
        format_ = convert.check_format(request.format)
        inputs = [_input_or_error(message) for message in request.inputs]
        results = await self._service.batch(inputs, call)
        return pb.BatchEmbedResponse(
            results=[
                convert.batch_result(_at(result, f"inputs[{i}]"), format_, call.started)
                for i, result in enumerate(results)
            ],
            timings=convert.timings(_longest(results), call.started),
        )

    @answers_errors
    async def StreamEmbed(  # type: ignore[override]  # writes to the context instead of being a generator
        self, requests: AsyncIterator[pb.StreamEmbedRequest], context: Context
    ) -> None:
        # One stream, one model: vectors of two do not compare, and whoever reads them could not tell.
        model = self._service.serving.model

        async def answer(request: pb.StreamEmbedRequest) -> pb.StreamEmbedResponse:
            started = time.monotonic()
            try:
                call = convert.call_of(context, request.priority, Priority.BULK)
                format_ = convert.check_format(request.format)
                embedded = await self._service.when_free(convert.embed_input(request.input), call, model)
            except ClipsearchError as error:
                return pb.StreamEmbedResponse(item_id=request.item_id, error=to_status(error))
            output = convert.embed_output(embedded, format_, started)
            return pb.StreamEmbedResponse(item_id=request.item_id, output=output)

        await pump(requests, answer, writer(context), window=self._stream_window)

    @answers_errors
    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=convert.model(self._service.serving.model.facts))


def _input_or_error(message: pb.EmbedInput) -> EmbedInput | ClipsearchError:
    try:
        return convert.embed_input(message)
    except ClipsearchError as error:
        return error


def _at(result: Embedded | ClipsearchError, place: str) -> Embedded | ClipsearchError:
    return result.at(place) if isinstance(result, ClipsearchError) else result


def _longest(results: Sequence[Embedded | ClipsearchError]) -> Stages:
    return Stages.longest(result.stages for result in results if isinstance(result, Embedded))
