"""What the kinds of long operations say about themselves, as values of ``types``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

from clipsearch.client import convert, convert_catalogue
from clipsearch.client.errors import DeadlineExceeded, from_status
from clipsearch.client.types import (
    Exported,
    Imported,
    IndexStats,
    OperationKind,
    OperationState,
    Progress,
    PromotedCollection,
    PromotedModel,
    Rejected,
    ReloadedModel,
    StagedModel,
)
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import model_pb2

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Kind(Generic[Result]):
    """One kind of operation: the word for it, its messages, and what its response is made into."""

    word: str
    metadata: Callable[[], Any]
    response: Callable[[], Any]
    result: Callable[[Any], Result]

    def progress(self, operation: operations_pb2.Operation) -> Progress:
        """Return how far an operation is."""
        metadata = _unpacked(operation.metadata, self.metadata())
        return _progress(metadata, _collection(metadata), operation.done)

    def result_of(self, operation: operations_pb2.Operation) -> Result:
        """Return what a finished operation made; raises what it failed with."""
        if operation.WhichOneof("result") == "error":
            raise from_status(operation.error)
        return self.result(_unpacked(operation.response, self.response()))

    def not_over(self, timeout: float) -> DeadlineExceeded:
        """Return the error for a wait that was too short."""
        message = f"the {self.word} was not over within {timeout:g} s; it goes on"
        return DeadlineExceeded(message, code=grpc.StatusCode.DEADLINE_EXCEEDED)


def state(operation: operations_pb2.Operation) -> OperationState | None:
    """Return an operation of a list; None for a kind that only a newer server knows."""
    for kind, made in _METADATA.items():
        metadata = made()
        if operation.metadata.Unpack(metadata):
            progress = _progress(metadata, _collection(metadata), operation.done)
            failed = operation.WhichOneof("result") == "error"
            return OperationState(operation.name, kind, progress, from_status(operation.error) if failed else None)
    return None


def _progress(metadata: Any, collection: str, done: bool) -> Progress:
    return Progress(
        collection=collection,
        stage=metadata.stage,
        done_steps=metadata.done_steps,
        total_steps=metadata.total_steps,
        start_time=convert_catalogue.point_in_time(metadata.start_time),
        done=done,
    )


def _collection(metadata: Any) -> str:
    """The collection that an operation is of; a snapshot is of several, and jobs about the model of none."""
    return str(metadata.collection) if "collection" in metadata.DESCRIPTOR.fields_by_name else ""


def _rebuilt(response: pb.RebuildIndexResponse) -> IndexStats:
    return convert_catalogue.index_stats(response.index)


def _exported(response: pb.ExportItemsResponse) -> Exported:
    return Exported(
        items=response.items,
        sequence_number=response.sequence_number,
        damaged_items=response.damaged_items,
        first_damaged_ids=tuple(response.first_damaged_ids),
        file_bytes=response.file_bytes,
    )


def _imported(response: pb.ImportItemsResponse) -> Imported:
    counts = response.counts
    return Imported(
        created_items=counts.created_items,
        updated_items=counts.updated_items,
        unchanged_items=counts.unchanged_items,
        rejected=dict(counts.rejected),
        first_rejects=tuple(Rejected(one.path, one.reason, one.message) for one in response.first_rejects),
        sequence_number=response.sequence_number,
    )


def _reloaded(response: model_pb2.ReloadModelResponse) -> ReloadedModel:
    previous, model = convert.model_info(response.previous_model), convert.model_info(response.model)
    return ReloadedModel(previous, model, response.swapped)


def _staged(response: model_pb2.StageModelResponse) -> StagedModel:
    return StagedModel(convert.model_info(response.model), tuple(response.collections))


def _promoted(response: model_pb2.PromoteModelResponse) -> PromotedModel:
    return PromotedModel(
        previous=convert.model_info(response.previous_model),
        model=convert.model_info(response.model),
        collections=tuple(
            PromotedCollection(one.collection, one.items, one.missing_items) for one in response.collections
        ),
    )


def _nothing(response: model_pb2.UnstageModelResponse) -> None:
    return None


RELOAD = Kind("reload", model_pb2.ModelJobMetadata, model_pb2.ReloadModelResponse, _reloaded)
STAGE = Kind("staging", model_pb2.ModelJobMetadata, model_pb2.StageModelResponse, _staged)
PROMOTE = Kind("promotion", model_pb2.ModelJobMetadata, model_pb2.PromoteModelResponse, _promoted)
UNSTAGE = Kind("unstaging", model_pb2.ModelJobMetadata, model_pb2.UnstageModelResponse, _nothing)
REBUILD = Kind("rebuild", pb.RebuildIndexMetadata, pb.RebuildIndexResponse, _rebuilt)
IMPORT = Kind("import", pb.ImportItemsMetadata, pb.ImportItemsResponse, _imported)
EXPORT = Kind("export", pb.ExportItemsMetadata, pb.ExportItemsResponse, _exported)

_METADATA: Mapping[OperationKind, Callable[[], Any]] = {
    "rebuild": pb.RebuildIndexMetadata,
    "import": pb.ImportItemsMetadata,
    "export": pb.ExportItemsMetadata,
    "snapshot": pb.SnapshotMetadata,
    "model": model_pb2.ModelJobMetadata,
}


def _unpacked(packed: any_pb2.Any, message: Message) -> Any:
    if not packed.Unpack(message):
        raise convert_catalogue.not_understood(f"an operation's {packed.type_url or 'empty message'}")
    return message
