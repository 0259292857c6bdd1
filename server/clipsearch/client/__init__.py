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
    ResourceExhausted,
    Unavailable,
    Violation,
)
from clipsearch.client.rebuild import AsyncRebuild, Rebuild
from clipsearch.client.retry import RetryPolicy
from clipsearch.client.sync import Client
from clipsearch.client.types import (
    CollectionStats,
    Deleted,
    Embedded,
    Hit,
    IndexStats,
    Input,
    Item,
    ModelInfo,
    NewItem,
    Outcome,
    Picture,
    Priority,
    Query,
    RebuildProgress,
    SearchResult,
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
    "AsyncRebuild",
    "Cancelled",
    "Catalogue",
    "Client",
    "ClientError",
    "CollectionStats",
    "DeadlineExceeded",
    "Deleted",
    "Embedded",
    "FailedPrecondition",
    "Hit",
    "IndexStats",
    "Input",
    "Internal",
    "InvalidArgument",
    "Item",
    "ModelInfo",
    "NewItem",
    "NotFound",
    "Outcome",
    "Overloaded",
    "Picture",
    "Priority",
    "Query",
    "Rebuild",
    "RebuildProgress",
    "ResourceExhausted",
    "RetryPolicy",
    "SearchResult",
    "Timings",
    "Transport",
    "Unavailable",
    "Upserted",
    "Vector",
    "View",
    "Violation",
]
