"""One call of each kind over a gRPC channel: sent, judged, and its timings read. For threads of gevent or others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from benchmarks.load.recorder import STAGES
from benchmarks.load.work import Work
from clipsearch.v1 import catalogue_pb2_grpc, common_pb2, embedding_pb2_grpc, search_pb2_grpc

DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was good for: the server's own timings in microseconds where it tells them, and items done."""

    stages: Mapping[str, int]
    items: int = 1


class ItemFailed(Exception):
    """An item of a batch or of a stream failed: its status and reason."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status, self.reason = _code(status.code), reason_of(status)


class Calls:
    """Makes calls; each method returns when the call is answered, and raises grpc.RpcError or ItemFailed."""

    def __init__(self, channel: grpc.Channel, work: Work, deadline_s: float) -> None:
        self._search = search_pb2_grpc.SearchServiceStub(channel)
        self._embedding = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        self._catalogue = catalogue_pb2_grpc.CatalogueServiceStub(channel)
        self._work, self._deadline_s = work, deadline_s
        self.by_kind: dict[str, Callable[[], Answer]] = {
            "text search": lambda: self._searched("by text"),
            "image search": lambda: self._searched("by image"),
            "composed search": lambda: self._searched("composed"),
            "filtered search": lambda: self._searched("filtered"),
            "batch embed": self._batch,
            "stream embed": self._stream,
            "upsert": self._upsert,
        }

    def _searched(self, kind: str) -> Answer:
        response = self._search.Search(self._work.search(kind), timeout=self._deadline_s)
        return Answer(_stages(response.timings), len(response.hits))

    def _batch(self) -> Answer:
        response = self._embedding.BatchEmbed(self._work.batch(), timeout=self._deadline_s)
        for result in response.results:
            if result.HasField("error"):
                raise ItemFailed(result.error)
        return Answer(_stages(response.timings), len(response.results))

    def _stream(self) -> Answer:
        messages = self._work.stream()
        answered = 0
        for response in self._embedding.StreamEmbed(iter(messages), timeout=self._deadline_s):
            if response.HasField("error"):
                raise ItemFailed(response.error)
            answered += 1
        return Answer({}, answered)

    def _upsert(self) -> Answer:
        response = self._catalogue.UpsertItems(self._work.upsert(), timeout=self._deadline_s)
        for result in response.results:
            if result.HasField("error"):
                raise ItemFailed(result.error)
        return Answer({}, len(response.results))


def outcome_of(error: Exception) -> tuple[str, str]:
    """Return the status and the reason of what a call raised; the reason is empty where the server gave none."""
    if isinstance(error, ItemFailed):
        return error.status, error.reason
    assert isinstance(error, grpc.RpcError), "calls raise nothing else"
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return error.code().name, reason_of(status_pb2.Status.FromString(value))
            except DecodeError:
                break
    return error.code().name, ""


def reason_of(status: status_pb2.Status) -> str:
    """Return the reason in a status' ErrorInfo; empty where it has none."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            return info.reason
    return ""


def _code(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def _stages(timings: common_pb2.Timings) -> dict[str, int]:
    return {stage: getattr(timings, stage) for stage in STAGES}
