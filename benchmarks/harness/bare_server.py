"""The least that a Python gRPC server can do for a search: a grpc.aio servicer that returns ten fixed hits.

Run as a program with the address to listen on. What clipsearch adds per request is measured against this one.
"""

import asyncio
import signal
import sys
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as aio_health

from clipsearch.v1 import search_pb2, search_pb2_grpc

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


async def main(address: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = aio.server(options=(("grpc.max_concurrent_streams", 1024), ("grpc.so_reuseport", 0)))
    search_pb2_grpc.add_SearchServiceServicer_to_server(FixedSearch(), server)
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
    asyncio.run(main(sys.argv[1]))
