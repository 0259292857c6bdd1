"""PyTriton: Triton's own server and dynamic batcher, with callables of this process for the models."""

import numpy as np
from numpy.typing import NDArray
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.towers import Task, Towers

WAIT_US = 1000
"""How long Triton's batcher waits for more while a batch is not full."""


class Model:
    """One tower for one of Triton's instances; inputs are bytes [n, 1], answers float32 [n, 512]."""

    def __init__(self, task: Task) -> None:
        self._towers = Towers(task)

    def texts(self, requests: list[dict[str, NDArray[np.object_]]]) -> list[dict[str, NDArray[np.float32]]]:
        """Embed what a batch of requests holds."""
        rows = [row[0].decode() for request in requests for row in request["input"]]
        return _split(self._towers.texts(rows), requests)

    def images(self, requests: list[dict[str, NDArray[np.object_]]]) -> list[dict[str, NDArray[np.float32]]]:
        """Decode and embed what a batch of requests holds."""
        rows = [self._towers.decode(row[0]) for request in requests for row in request["input"]]
        return _split(self._towers.images(rows), requests)


def _split(
    vectors: list[bytes], requests: list[dict[str, NDArray[np.object_]]]
) -> list[dict[str, NDArray[np.float32]]]:
    rows = iter(vectors)
    answers = []
    for request in requests:
        own = [np.frombuffer(next(rows), dtype=np.float32) for _ in request["input"]]
        answers.append({"vector": np.stack(own)})
    return answers


def _bind(triton: Triton, name: str, functions: list[object], at_once: int) -> None:
    batcher = DynamicBatcher(max_queue_delay_microseconds=WAIT_US)
    triton.bind(
        name,
        infer_func=functions,
        inputs=[Tensor(name="input", dtype=bytes, shape=(1,))],
        outputs=[Tensor(name="vector", dtype=np.float32, shape=(-1,))],
        config=ModelConfig(batching=True, max_batch_size=at_once, batcher=batcher),
    )


if __name__ == "__main__":
    task = Task.read()
    config = TritonConfig(http_address="127.0.0.1", http_port=task.port, allow_grpc=False, allow_metrics=False)
    models = [Model(task) for _ in range(task.workers)]
    with Triton(config=config) as triton:
        _bind(triton, "text", [model.texts for model in models], task.texts_at_once)
        _bind(triton, "image", [model.images for model in models], task.images_at_once)
        triton.serve()
