"""BentoML: one service with two batchable APIs, JSON both ways; started by ``bentoml serve``."""

import base64

import bentoml
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.towers import Task, Towers

TASK = Task.read()
LATENCY_MS = 10_000
"""What a request may wait and take before BentoML refuses it; its batcher chooses the wait by itself."""


@bentoml.service(workers=TASK.workers, traffic={"timeout": 60, "concurrency": 256}, metrics={"enabled": False})
class Clip:
    def __init__(self) -> None:
        self._towers = Towers(TASK)

    @bentoml.api(batchable=True, max_batch_size=TASK.texts_at_once, max_latency_ms=LATENCY_MS)
    def text(self, texts: list[str]) -> list[NDArray[np.float32]]:
        return [np.frombuffer(vector, dtype=np.float32) for vector in self._towers.texts(texts)]

    @bentoml.api(batchable=True, max_batch_size=TASK.images_at_once, max_latency_ms=LATENCY_MS)
    def image(self, images: list[str]) -> list[NDArray[np.float32]]:
        pixels = [self._towers.decode(base64.b64decode(image)) for image in images]
        return [np.frombuffer(vector, dtype=np.float32) for vector in self._towers.images(pixels)]
