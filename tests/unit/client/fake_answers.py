"""What the fake server's answers are made of."""

import hashlib

import grpc
import numpy as np
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from clipsearch.v1 import common_pb2

DIMENSION = 8


def vector_of(data: bytes) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


def status_of(
    code: grpc.StatusCode,
    message: str,
    reason: str,
    *,
    field_path: str = "",
    retry_after_s: float | None = None,
    domain: str = "clipsearch",
) -> status_pb2.Status:
    details: list[object] = [error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata={"limit": "7"})]
    if field_path:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field_path, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


EMPTY_TEXT = status_of(grpc.StatusCode.INVALID_ARGUMENT, "the text is blank", "TEXT_EMPTY", field_path="text")
NO_SUCH_ITEM = status_of(grpc.StatusCode.NOT_FOUND, "no such item", "ITEM_NOT_FOUND")
NOT_REACHED = status_of(grpc.StatusCode.FAILED_PRECONDITION, "not yet", "SEQUENCE_NOT_REACHED")
DRAINING = status_of(grpc.StatusCode.UNAVAILABLE, "draining", "SHUTTING_DOWN")


def queue_full(retry_after_s: float) -> status_pb2.Status:
    return status_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "QUEUE_FULL", retry_after_s=retry_after_s)


def embedding(data: bytes, format_: int) -> common_pb2.Embedding:
    vector = vector_of(data)
    if format_ == common_pb2.EMBEDDING_FORMAT_FLOAT16:
        return common_pb2.Embedding(float16=vector.astype("<f2").tobytes())
    return common_pb2.Embedding(float32=common_pb2.FloatVector(values=vector.tolist()))


def abort(context: grpc.ServicerContext, status: status_pb2.Status) -> None:
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(next(code for code in grpc.StatusCode if code.value[0] == status.code), status.message)
