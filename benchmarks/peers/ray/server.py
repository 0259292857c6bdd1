"""Ray Serve behind its gRPC proxy, with the messages of clipsearch's own API and ``serve.batch``."""

import signal
import socket
import threading
from typing import Any

import numpy as np
import ray
from ray import serve
from ray.serve.config import gRPCOptions

from benchmarks.peers.towers import Task, Towers
from clipsearch.v1 import embedding_pb2

TASK = Task.read()
WAIT_S = 0.005
"""How long a batch that is not full waits for more."""


@serve.deployment(
    num_replicas=TASK.workers, max_ongoing_requests=128, ray_actor_options={"num_cpus": 1.0 / TASK.workers}
)
class Clip:
    def __init__(self) -> None:
        self._towers = Towers(TASK)

    async def EmbedText(self, request: Any) -> Any:
        answer = embedding_pb2.EmbedTextResponse()
        answer.embedding.float32.values.extend(np.frombuffer(await self._texts(request.text), dtype=np.float32))
        return answer

    async def EmbedImage(self, request: Any) -> Any:
        answer = embedding_pb2.EmbedImageResponse()
        answer.embedding.float32.values.extend(np.frombuffer(await self._images(request.image), dtype=np.float32))
        return answer

    @serve.batch(max_batch_size=TASK.texts_at_once, batch_wait_timeout_s=WAIT_S)
    async def _texts(self, texts: list[str]) -> list[bytes]:
        return self._towers.texts(texts)

    @serve.batch(max_batch_size=TASK.images_at_once, batch_wait_timeout_s=WAIT_S)
    async def _images(self, images: list[bytes]) -> list[bytes]:
        return self._towers.images([self._towers.decode(image) for image in images])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    functions = ["clipsearch.v1.embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server"]
    # The gRPC proxy lives in the HTTP proxy's process, so there must be one; nobody calls it.
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": "127.0.0.1", "port": _free_port()},
        grpc_options=gRPCOptions(port=TASK.port, grpc_servicer_functions=functions),
    )
    serve.run(Clip.bind(), route_prefix="/")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    stopping.wait()
    serve.shutdown()
    ray.shutdown()
