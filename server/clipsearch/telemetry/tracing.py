"""OpenTelemetry spans: each request's stages under its RPC's span, and each batch linked to the requests it served.

The RPC's span is the official instrumentation's, with the caller's ``traceparent`` as its parent. Stages are recorded
when they are over, from the times that were taken anyway, so a lane's worker never waits for a span. A batch's span is
the child of one of its requests, for a sampler to judge them alike, and is linked to all of them; each stage that ran
in the batch is linked to it in turn.

Imported only where tracing is on.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, Status, StatusCode

from clipsearch import __version__
from clipsearch.batching.queue import Entry
from clipsearch.errors import ClipsearchError
from clipsearch.telemetry.requests import current_id

NAME = "clipsearch"


class Tracing:
    """Makes spans and hands them to a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(NAME, __version__)

    @classmethod
    def to(cls, endpoint: str) -> "Tracing":
        """Send spans to an OTLP/gRPC endpoint; all else is as OpenTelemetry's environment variables say."""
        resource = Resource({SERVICE_NAME: NAME, SERVICE_VERSION: __version__}).merge(Resource.create())
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        return cls(provider)

    def interceptor(self) -> Any:
        """Return the instrumentation of an asyncio gRPC server; health checks and reflection make no spans."""
        noise = filters.any_of(filters.health_check(), filters.service_prefix("grpc.reflection"))
        make: Any = aio_server_interceptor  # has no annotations
        return make(self._provider, filters.negate(noise))

    def request(self, method: str, code: str, reason: str, seconds: float) -> None:
        """Name the request and the error's reason in its span; a ``rpc.observed.RequestObserver``."""
        span = trace.get_current_span()
        span.set_attribute("clipsearch.request_id", current_id())
        if reason:
            span.set_attribute("clipsearch.reason", reason)

    def preprocessed(self, lane: str, started: float, finished: float, error: ClipsearchError | None) -> None:
        """Record a stage of the request at hand; a ``services.embed.PreprocessObserver``."""
        span = trace.get_current_span()
        if span.is_recording():
            self._stage("preprocess", span, (started, finished), {"clipsearch.lane": lane}, output=error)

    def batches(
        self, lane: str, stage: str, searched_s: Callable[[Any], float] | None
    ) -> Callable[[Sequence[Entry[Any, Any]], Sequence[object], float, float], None]:
        """Return the observer of a lane (``batching.lane.Observer``); for the parameters see ``meters.LaneMeter``."""

        def observe(
            batch: Sequence[Entry[Any, Any]], outputs: Sequence[object], started: float, finished: float
        ) -> None:
            spans = [entry.context.run(trace.get_current_span) for entry in batch]
            traced = [i for i, span in enumerate(spans) if span.get_span_context().trace_flags.sampled]
            if not traced:
                return
            of_batch = self._batch(lane, [spans[i] for i in traced], len(batch), started, finished)
            attributes = {"clipsearch.lane": lane, "clipsearch.batch.items": len(batch)}
            for i in traced:
                search_s = searched_s(outputs[i]) if searched_s else 0.0
                span, output, split = spans[i], outputs[i], finished - search_s
                self._stage("queue", span, (batch[i].enqueued, started), attributes)
                self._stage(stage, span, (started, split), attributes, of_batch=of_batch, output=output)
                if search_s:
                    self._stage("search", span, (split, finished), attributes, of_batch=of_batch)

        return observe

    def close(self, timeout_s: float) -> None:
        """Send what is left, in so many seconds, and stop."""
        self._provider.force_flush(int(1e3 * timeout_s))
        self._provider.shutdown()

    def _batch(self, lane: str, requests: Sequence[Span], items: int, started: float, finished: float) -> Span:
        span = self._tracer.start_span(
            f"{lane} batch",
            trace.set_span_in_context(requests[0]),
            attributes={"clipsearch.lane": lane, "clipsearch.batch.items": items},
            links=[Link(one.get_span_context()) for one in dict.fromkeys(requests)],
            start_time=_wall(started),
        )
        span.end(_wall(finished))
        return span

    def _stage(
        self,
        name: str,
        request: Span,
        times: tuple[float, float],
        attributes: dict[str, Any],
        *,
        of_batch: Span | None = None,
        output: object = None,
    ) -> None:
        began, ended = map(_wall, times)
        links = [Link(of_batch.get_span_context())] if of_batch is not None else []
        context = trace.set_span_in_context(request)
        span = self._tracer.start_span(name, context, attributes=attributes, links=links, start_time=began)
        if isinstance(output, ClipsearchError):
            span.set_status(Status(StatusCode.ERROR, output.reason))
        span.end(ended)


def _wall(monotonic_s: float) -> int:
    """A time on ``time.monotonic`` as Unix time in nanoseconds, as spans want it."""
    return time.time_ns() - time.monotonic_ns() + int(1e9 * monotonic_s)
