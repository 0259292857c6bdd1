"""The error tree: what can go wrong, whose fault it is, and whether trying again can help.

Every class carries a gRPC status code, a stable UPPER_SNAKE reason that callers may switch on, and a retry flag.
Instances add the request field at fault and the dynamic values. Layers below ``rpc`` raise these and know no gRPC;
``rpc.status`` is the one place that turns them into wire statuses.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

DOMAIN = "clipsearch"


class Code(IntEnum):
    """The canonical status codes we use, numbered as in ``google.rpc.Code``."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class ClipsearchError(Exception):
    """Base of every error this package raises on purpose.

    ``field`` is the path of the request field at fault (``query.image``); ``metadata`` holds the dynamic values of the
    message; ``retry_after_s`` is the shortest sensible wait in seconds before a retry.
    """

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s

    def at(self, prefix: str) -> "ClipsearchError":
        """Name the request field that holds the bad value, from the outside in; returns self."""
        self.field = f"{prefix}.{self.field}" if self.field else prefix
        return self


class InvalidInput(ClipsearchError):
    """The caller's fault, and the same request will fail again."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_INPUT"


class MalformedMessage(InvalidInput):
    """The bytes of a request are not a message of the method that was called."""

    reason = "MALFORMED_MESSAGE"


class EmptyText(InvalidInput):
    """A text of no characters (or white space alone) was given."""

    reason = "TEXT_EMPTY"


class TextTooLarge(InvalidInput):
    """A text over the byte limit; shorter ones over the context length are truncated instead."""

    reason = "TEXT_TOO_LARGE"


class EmptyImage(InvalidInput):
    """An image of zero bytes."""

    reason = "IMAGE_EMPTY"


class ImageTooLarge(InvalidInput):
    """Encoded image bytes over the limit."""

    reason = "IMAGE_TOO_LARGE"


class TooManyPixels(InvalidInput):
    """The header announces more pixels than the limit; nothing was decoded."""

    reason = "IMAGE_TOO_MANY_PIXELS"


class UnsupportedImage(InvalidInput):
    """Not a picture in one of the accepted formats."""

    reason = "IMAGE_UNSUPPORTED_FORMAT"


class CorruptImage(InvalidInput):
    """The format is known but the data is truncated or broken."""

    reason = "IMAGE_CORRUPT"


class ImageTooCostly(InvalidInput):
    """Decoding took more time or memory than a picture may have; which, and how much, is in the metadata."""

    reason = "IMAGE_TOO_COSTLY"


class WrongDimension(InvalidInput):
    """A vector of another length than the model's."""

    reason = "VECTOR_WRONG_DIMENSION"


class WrongModel(InvalidInput):
    """A file whose vectors were made by another model than the server's: they do not compare with its own."""

    reason = "VECTOR_WRONG_MODEL"


class BadVector(InvalidInput):
    """A vector holding NaN or infinity, or of zero length (norm)."""

    reason = "VECTOR_NOT_USABLE"


class BadItemId(InvalidInput):
    """An item id that is empty, too long, no valid Unicode, or holds control characters."""

    reason = "ID_NOT_USABLE"


class DuplicateId(InvalidInput):
    """The same item id a second time in one mutation; the first one counts."""

    reason = "ID_DUPLICATE"


class BadMetadata(InvalidInput):
    """Metadata that is no JSON object, or too large."""

    reason = "METADATA_NOT_USABLE"


class RequestIdReused(InvalidInput):
    """A request id that was used before, with other content; a retry repeats its request exactly."""

    reason = "REQUEST_ID_REUSED"


class BadWeight(InvalidInput):
    """A term's weight that is 0 or not a number."""

    reason = "WEIGHT_NOT_USABLE"


class TopKOutOfRange(InvalidInput):
    """``top_k`` below one or over the server's cap."""

    reason = "TOP_K_OUT_OF_RANGE"


class NprobeOutOfRange(InvalidInput):
    """``nprobe`` below one or over the number of lists."""

    reason = "NPROBE_OUT_OF_RANGE"


class MissingInput(InvalidInput):
    """A oneof of the request was left unset."""

    reason = "INPUT_MISSING"


class UnknownEnumValue(InvalidInput):
    """An enum number that this server does not know."""

    reason = "ENUM_VALUE_UNKNOWN"


class BatchTooLarge(InvalidInput):
    """More items in one batch request than the server takes."""

    reason = "BATCH_TOO_LARGE"


class MalformedFilter(InvalidInput):
    """A metadata filter that does not follow the grammar; ``position`` in the metadata counts code points from 0."""

    reason = "FILTER_MALFORMED"


class FilterTooComplex(InvalidInput):
    """A metadata filter that is well formed but longer, deeper or with more conditions than the server takes."""

    reason = "FILTER_TOO_COMPLEX"


class BadPageToken(InvalidInput):
    """A page token that this server did not make, or made for another list or search; or a page size that is none."""

    reason = "PAGE_TOKEN_NOT_USABLE"


class BadOffset(InvalidInput):
    """An offset that is negative, or given beside a page token."""

    reason = "OFFSET_NOT_USABLE"


class SearchTooDeep(InvalidInput):
    """A page, or hits and exclusions together, deeper in the results than the server or its index searches."""

    reason = "SEARCH_TOO_DEEP"


class BadGroupField(InvalidInput):
    """A field to group by that is no field path."""

    reason = "GROUP_BY_NOT_USABLE"


class BadFacetField(InvalidInput):
    """A field to count the values of that is no field path."""

    reason = "FACET_FIELD_NOT_USABLE"


class FacetLimitOutOfRange(InvalidInput):
    """More values of each field than the server lists, or fewer than none."""

    reason = "FACET_LIMIT_OUT_OF_RANGE"


class TooManyFields(InvalidInput):
    """More fields are asked for, or found where none are named, than the server counts at once."""

    reason = "TOO_MANY_FIELDS"


class BadCollapse(InvalidInput):
    """A cosine to collapse above that is not between 0 and 1."""

    reason = "COLLAPSE_ABOVE_NOT_USABLE"


class ItemNotFound(ClipsearchError):
    """No item of that id is in the index."""

    code = Code.NOT_FOUND
    reason = "ITEM_NOT_FOUND"


class OperationNotFound(ClipsearchError):
    """No operation has this name, or it was forgotten."""

    code = Code.NOT_FOUND
    reason = "OPERATION_NOT_FOUND"


class CollectionNotFound(ClipsearchError):
    """No collection has this name."""

    code = Code.NOT_FOUND
    reason = "COLLECTION_NOT_FOUND"


class CollectionExists(ClipsearchError):
    """A collection of this name is there already."""

    code = Code.ALREADY_EXISTS
    reason = "COLLECTION_EXISTS"


class BadCollectionName(InvalidInput):
    """A collection name that could not be a directory's on every system."""

    reason = "COLLECTION_NAME_NOT_USABLE"


class PathNotAllowed(InvalidInput):
    """A path on the server that is no plain relative one, or that leads out of the directory it must stay in."""

    reason = "PATH_NOT_ALLOWED"


class PathNotFound(ClipsearchError):
    """There is no such file or directory on the server."""

    code = Code.NOT_FOUND
    reason = "PATH_NOT_FOUND"


class SnapshotExists(ClipsearchError):
    """A directory of this name is there already; nothing is ever overwritten by a snapshot."""

    code = Code.ALREADY_EXISTS
    reason = "SNAPSHOT_EXISTS"


class ExportExists(ClipsearchError):
    """There is something of the export's name already, and it is no file or may not be overwritten."""

    code = Code.ALREADY_EXISTS
    reason = "EXPORT_EXISTS"


class NotConfigured(ClipsearchError):
    """The server was started without a setting that this needs; its name is in the metadata."""

    code = Code.FAILED_PRECONDITION
    reason = "NOT_CONFIGURED"


class RebuildRunning(ClipsearchError):
    """The collection's index is being built already."""

    code = Code.ABORTED
    reason = "REBUILD_RUNNING"
    retryable = True


class OperationRunning(ClipsearchError):
    """An operation of the same kind works on the same thing; its name is in the metadata."""

    code = Code.ABORTED
    reason = "OPERATION_RUNNING"
    retryable = True


class SequenceNotReached(ClipsearchError):
    """The collection has not reached the sequence number that the search asks for."""

    code = Code.FAILED_PRECONDITION
    reason = "SEQUENCE_NOT_REACHED"


class NoIndex(ClipsearchError):
    """The server was started without a data directory, so it embeds but has nothing to search."""

    code = Code.FAILED_PRECONDITION
    reason = "NO_INDEX"


class QueueFull(ClipsearchError):
    """The lane holds as much as it may; trying again a little later can succeed."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "QUEUE_FULL"
    retryable = True


class CallerOverShare(ClipsearchError):
    """This caller holds as much of the lane as one may while there is so little room; others may still come in."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "CALLER_OVER_SHARE"
    retryable = True


class DeadlineUnreachable(ClipsearchError):
    """There is so much to do before this that its deadline would pass; nothing was done for it."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "DEADLINE_UNREACHABLE"
    retryable = True


class DeadlineExpired(ClipsearchError):
    """The caller's deadline passed while the item waited; it was never computed."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class Cancelled(ClipsearchError):
    """The caller went away."""

    code = Code.CANCELLED
    reason = "CANCELLED"


class NotReady(ClipsearchError):
    """The models are still warming up, or their warm-up failed; the health service says which replica to use."""

    code = Code.UNAVAILABLE
    reason = "NOT_READY"
    retryable = True


class ShuttingDown(ClipsearchError):
    """The server is draining and takes nothing new; another replica may."""

    code = Code.UNAVAILABLE
    reason = "SHUTTING_DOWN"
    retryable = True


class DecoderDied(ClipsearchError):
    """The process that decoded this picture ended before it answered. Another try meets a new one."""

    code = Code.UNAVAILABLE
    reason = "DECODER_DIED"
    retryable = True


class KeyMissing(ClipsearchError):
    """No ``authorization: Bearer …`` came with the call."""

    code = Code.UNAUTHENTICATED
    reason = "KEY_MISSING"


class KeyInvalid(ClipsearchError):
    """What came as a key is none of this server's."""

    code = Code.UNAUTHENTICATED
    reason = "KEY_INVALID"


class KeyRevoked(ClipsearchError):
    """The key was good once and has been revoked."""

    code = Code.UNAUTHENTICATED
    reason = "KEY_REVOKED"


class ScopeMissing(ClipsearchError):
    """The key is good but not for this method; the scope it would need is in the metadata."""

    code = Code.PERMISSION_DENIED
    reason = "SCOPE_MISSING"


class AdminClosed(ClipsearchError):
    """The server was started without its administrative methods."""

    code = Code.PERMISSION_DENIED
    reason = "ADMIN_CLOSED"


class RateLimited(ClipsearchError):
    """The key has made more calls than its rate allows."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"
    retryable = True


class ComputeFailed(ClipsearchError):
    """The encoder or index failed on this item; the log has the cause."""

    reason = "COMPUTE_FAILED"


class OutOfMemory(ComputeFailed):
    """There was no memory, or none on the device, to compute this, in a smaller batch neither."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "OUT_OF_MEMORY"
    retryable = True


class UnusableBundle(ClipsearchError):
    """A bundle on disk is missing, incomplete, of another format version, or does not match its hashes."""

    code = Code.FAILED_PRECONDITION
    reason = "BUNDLE_UNUSABLE"


class OtherModel(ClipsearchError):
    """A bundle has other weights, or another dimension, than the vectors of the collections named in the metadata."""

    code = Code.FAILED_PRECONDITION
    reason = "COLLECTIONS_OF_ANOTHER_MODEL"


class ModelStaged(ClipsearchError):
    """Another model is being prepared to take over; it has to be promoted or unstaged first."""

    code = Code.FAILED_PRECONDITION
    reason = "MODEL_STAGED"


class ModelNotStaged(ClipsearchError):
    """No model is being prepared to take over."""

    code = Code.FAILED_PRECONDITION
    reason = "MODEL_NOT_STAGED"


class CollectionsIncomplete(ClipsearchError):
    """Items have no vector of the staged model yet; how many of which collections is in the metadata."""

    code = Code.FAILED_PRECONDITION
    reason = "COLLECTIONS_INCOMPLETE"


class ModelReplaced(ClipsearchError):
    """Another model took over while vectors of the old one were on their way into a collection; none was stored."""

    code = Code.ABORTED
    reason = "MODEL_REPLACED"
    retryable = True


class UnusableIndex(ClipsearchError):
    """An index on disk is missing, torn, of another format version, or does not fit the bundle."""

    code = Code.FAILED_PRECONDITION
    reason = "INDEX_UNUSABLE"


class StorageFull(ClipsearchError):
    """There was no room to write; nothing of the mutation is stored. Somebody has to make room first."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "STORAGE_FULL"


class StorageFailed(ClipsearchError):
    """The disk failed. A mutation that meets this may turn out to be stored; its request id makes a retry safe."""

    reason = "STORAGE_FAILED"


class EmbeddingDamaged(ClipsearchError):
    """The stored embedding does not match its checksum; writing the item again cures it."""

    reason = "EMBEDDING_DAMAGED"


class DeviceUnavailable(ClipsearchError):
    """The device asked for cannot be used; never replaced by another one silently."""

    code = Code.FAILED_PRECONDITION
    reason = "DEVICE_UNAVAILABLE"


class ConfigError(ClipsearchError):
    """A setting is missing or wrong; raised at start, never while serving."""

    code = Code.FAILED_PRECONDITION
    reason = "CONFIG_INVALID"
