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
from clipsearch.client.errors import (
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
from clipsearch.client.retry import RetryPolicy
from clipsearch.client.sync import Client
from clipsearch.client.types import (
    Embedded,
    Hit,
    Input,
    ModelInfo,
    Picture,
    Priority,
    Query,
    SearchResult,
    Timings,
    Transport,
    Vector,
    View,
)

__all__ = [
    "AsyncClient",
    "Cancelled",
    "Client",
    "ClientError",
    "DeadlineExceeded",
    "Embedded",
    "FailedPrecondition",
    "Hit",
    "Input",
    "Internal",
    "InvalidArgument",
    "ModelInfo",
    "NotFound",
    "Overloaded",
    "Picture",
    "Priority",
    "Query",
    "ResourceExhausted",
    "RetryPolicy",
    "SearchResult",
    "Timings",
    "Transport",
    "Unavailable",
    "Vector",
    "View",
    "Violation",
]
