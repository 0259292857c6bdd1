"""The client: ``Client`` for threads and ``AsyncClient`` for asyncio, with the same methods.

    from pathlib import Path
    from clipsearch.client import Client

    with Client("localhost:50051") as client:
        found = client.search(text="red canvas sneakers", top_k=5, view="metadata")
        for hit in found.hits:
            print(hit.id, hit.score, hit.metadata)

Needs the base install only: nothing of the server, the encoders or the index is imported.
"""

from clipsearch.client.aio import AsyncClient
from clipsearch.client.catalogue_aio import AsyncCatalogue
from clipsearch.client.catalogue_sync import Catalogue
from clipsearch.client.channel import tls_credentials
from clipsearch.client.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    ClientError,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Violation,
)
from clipsearch.client.models import AsyncModels, Models
from clipsearch.client.operation import AsyncOperation, Operation
from clipsearch.client.retry import RetryPolicy
from clipsearch.client.sync import Client
from clipsearch.client.types import (
    CollectionStats,
    Deleted,
    Embedded,
    Exported,
    Facets,
    FacetValue,
    FieldFacet,
    Hit,
    Imported,
    IndexStats,
    Input,
    Item,
    ModelInfo,
    NewItem,
    OperationKind,
    OperationState,
    Outcome,
    Picture,
    Priority,
    Progress,
    PromotedCollection,
    PromotedModel,
    Query,
    Rejected,
    ReloadedModel,
    SearchResult,
    StagedModel,
    Timings,
    Transport,
    Upserted,
    Vector,
    View,
)

__all__ = [
    "Aborted",
    "AlreadyExists",
    "AsyncCatalogue",
    "AsyncClient",
    "AsyncModels",
    "AsyncOperation",
    "Cancelled",
    "Catalogue",
    "Client",
    "ClientError",
    "CollectionStats",
    "DeadlineExceeded",
    "Deleted",
    "Embedded",
    "Exported",
    "FacetValue",
    "Facets",
    "FailedPrecondition",
    "FieldFacet",
    "Hit",
    "Imported",
    "IndexStats",
    "Input",
    "Internal",
    "InvalidArgument",
    "Item",
    "ModelInfo",
    "Models",
    "NewItem",
    "NotFound",
    "Operation",
    "OperationKind",
    "OperationState",
    "Outcome",
    "Overloaded",
    "PermissionDenied",
    "Picture",
    "Priority",
    "Progress",
    "PromotedCollection",
    "PromotedModel",
    "Query",
    "Rejected",
    "ReloadedModel",
    "ResourceExhausted",
    "RetryPolicy",
    "SearchResult",
    "StagedModel",
    "Timings",
    "Transport",
    "Unauthenticated",
    "Unavailable",
    "Upserted",
    "Vector",
    "View",
    "Violation",
    "tls_credentials",
]
