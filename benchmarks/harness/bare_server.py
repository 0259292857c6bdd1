"""The least that a Python gRPC server can do: a grpc.aio servicer that returns ten fixed hits for a search.

Run as a program with the address to listen on; with the directory of a bundle as well, it also embeds texts, one after
the other, right in the servicer. What clipsearch adds per request is measured against this one.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as aio_health

from clipsearch.encoders.load import load_encoders
from clipsearch.encoders.runtime import RuntimeOptions
from clipsearch.index.threads import available_cores
from clipsearch.v1 import embedding_pb2, embedding_pb2_grpc, search_pb2, search_pb2_grpc

HITS = 10


def fixed_answer() -> search_pb2.SearchResponse:
    """Ten hits with ids as long as the sample catalogue's, and timings as a real answer has."""
    hits = [search_pb2.Hit(id=f"dress-{400 * i + 17:05d}", score=0.93 - 0.01 * i) for i in range(HITS)]
    response = search_pb2.SearchResponse(hits=hits)
    for name in ("preprocess_us", "queue_us", "encode_us", "search_us", "total_us"):
        setattr(response.timings, name, 1000)
    return response


class FixedSearch(search_pb2_grpc.SearchServiceServicer):
    """Parses the request, as any server must, and looks at nothing."""

    def __init__(self) -> None:
        self._answer = fixed_answer()

    async def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:
        return self._answer


class InlineEmbedding(embedding_pb2_grpc.EmbeddingServiceServicer):
    """Runs the text tower on all cores while the event loop waits: nobody else is served meanwhile."""

    def __init__(self, bundle: Path) -> None:
        self._encoders = load_encoders(bundle, RuntimeOptions("cpu", threads=1, lone_threads=available_cores()))
        self._encoders.text.warm_up()

    async def EmbedText(self, request: embedding_pb2.EmbedTextRequest, context: Any) -> embedding_pb2.EmbedTextResponse:
        vector = self._encoders.text.encode([self._encoders.tokenizer(request.text).ids])[0]
        response = embedding_pb2.EmbedTextResponse()
        response.embedding.float32.values.extend(vector.tolist())
        return response


async def main(address: str, bundle: Path | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = aio.server(options=(("grpc.max_concurrent_streams", 1024), ("grpc.so_reuseport", 0)))
    search_pb2_grpc.add_SearchServiceServicer_to_server(FixedSearch(), server)
    if bundle is not None:
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(InlineEmbedding(bundle), server)
    health = aio_health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(address)
    await server.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await server.stop(grace=1.0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None))
