"""Operations as google.longrunning.Operation: what each kind is about and gives, as its own messages."""

from functools import singledispatch

from google.longrunning import operations_pb2
from google.protobuf import timestamp_pb2
from google.protobuf.message import Message

from clipsearch.rpc import convert
from clipsearch.rpc.convert_catalogue import index_stats
from clipsearch.rpc.status import to_status
from clipsearch.services.jobs import (
    Exported,
    ExportOf,
    Imported,
    ImportOf,
    IndexManifest,
    RebuildOf,
    SnapshotOf,
    SnapshotTaken,
    Tally,
)
from clipsearch.services.model_jobs import ModelJobOf, Promoted, Reloaded, Staged, Unstaged
from clipsearch.services.operations import About, Operation
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import model_pb2


def operation(job: Operation) -> operations_pb2.Operation:
    """A job as it stands."""
    done = job.done.is_set()
    message = operations_pb2.Operation(name=job.name, done=done)
    message.metadata.Pack(_metadata(job.about, job))
    if done and job.error is not None:
        message.error.CopyFrom(to_status(job.error))
    elif done:
        message.response.Pack(_response(job.result))
    return message


@singledispatch
def _metadata(about: About, job: Operation) -> Message:
    """The metadata of an operation, by the type of what it is about."""
    raise TypeError(f"no message is known for {type(about).__name__}")


@singledispatch
def _response(result: object) -> Message:
    """The response of an operation, by the type of its result."""
    raise TypeError(f"no message is known for {type(result).__name__}")


@_metadata.register
def _(about: RebuildOf, job: Operation) -> Message:
    return pb.RebuildIndexMetadata(
        collection=about.collection,
        stage=job.stage,
        done_steps=job.done_steps,
        total_steps=job.total_steps,
        start_time=_started(job),
    )


@_metadata.register
def _(about: SnapshotOf, job: Operation) -> Message:
    return pb.SnapshotMetadata(
        name=about.name,
        stage=job.stage,
        done_steps=job.done_steps,
        total_steps=job.total_steps,
        start_time=_started(job),
    )


@_metadata.register
def _(about: ImportOf, job: Operation) -> Message:
    return pb.ImportItemsMetadata(
        collection=about.collection,
        path=about.path,
        stage=job.stage,
        done_steps=job.done_steps,
        total_steps=job.total_steps,
        start_time=_started(job),
        counts=_counts(about.tally),
    )


@_metadata.register
def _(about: ExportOf, job: Operation) -> Message:
    return pb.ExportItemsMetadata(
        collection=about.collection,
        path=about.path,
        stage=job.stage,
        done_steps=job.done_steps,
        total_steps=job.total_steps,
        start_time=_started(job),
    )


@_response.register
def _(result: IndexManifest) -> Message:
    return pb.RebuildIndexResponse(index=index_stats(result))


@_response.register
def _(result: SnapshotTaken) -> Message:
    return pb.SnapshotResponse(
        collections=[
            pb.CollectionSnapshot(
                collection=name,
                sequence_number=copy.seq,
                items=copy.items,
                index_sequence_number=copy.index_seq,
                disk_bytes=copy.disk_bytes,
            )
            for name, copy in result.copies.items()
        ]
    )


@_response.register
def _(result: Imported) -> Message:
    rejects = [
        pb.ImportReject(path=_printable(one.path), reason=one.reason, message=_printable(one.message))
        for one in result.first_rejects
    ]
    return pb.ImportItemsResponse(counts=_counts(result.tally), first_rejects=rejects, sequence_number=result.seq)


@_response.register
def _(result: Exported) -> Message:
    return pb.ExportItemsResponse(
        items=result.items,
        sequence_number=result.seq,
        damaged_items=result.damaged,
        first_damaged_ids=result.first_damaged,
        file_bytes=result.file_bytes,
    )


@_metadata.register
def _(about: ModelJobOf, job: Operation) -> Message:
    return model_pb2.ModelJobMetadata(
        job=about.word,
        bundle=about.bundle,
        stage=job.stage,
        done_steps=job.done_steps,
        total_steps=job.total_steps,
        start_time=_started(job),
    )


@_response.register
def _(result: Reloaded) -> Message:
    return model_pb2.ReloadModelResponse(
        previous_model=convert.model(result.before), model=convert.model(result.after), swapped=result.swapped
    )


@_response.register
def _(result: Staged) -> Message:
    return model_pb2.StageModelResponse(model=convert.model(result.model), collections=result.collections)


@_response.register
def _(result: Promoted) -> Message:
    return model_pb2.PromoteModelResponse(
        previous_model=convert.model(result.before),
        model=convert.model(result.after),
        collections=[
            model_pb2.PromotedCollection(collection=one.name, items=one.items, missing_items=one.missing)
            for one in result.collections
        ],
    )


@_response.register
def _(result: Unstaged) -> Message:
    return model_pb2.UnstageModelResponse()


def _counts(tally: Tally) -> pb.ImportCounts:
    return pb.ImportCounts(
        created_items=tally.added,
        updated_items=tally.updated,
        unchanged_items=tally.unchanged,
        rejected=dict(tally.rejected),
        normalised_vectors=tally.normalised,
        items_without_metadata=tally.without_metadata,
    )


def _printable(text: str) -> str:
    """A text that Protobuf takes: a file's name need not be valid Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def _started(job: Operation) -> timestamp_pb2.Timestamp:
    started = timestamp_pb2.Timestamp()
    started.FromMilliseconds(int(job.started * 1000))
    return started
