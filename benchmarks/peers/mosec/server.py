"""mosec: texts in one stage, pictures in two, decoded by one process per core in front of the encoder's."""

import sys
from typing import Any

from mosec import Runtime, Server, Worker

from benchmarks.peers.towers import Task, Towers

WAIT_MS = 10
"""mosec's default, written down: how long a batch that is not full waits for more."""


class _Raw(Worker):
    """Takes and gives bytes as they come: the cheapest coding that mosec has."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        self.towers = Towers(Task.read())

    def serialize(self, data: bytes) -> bytes:
        return data


class Text(_Raw):
    def deserialize(self, data: bytes) -> str:
        return data.decode()

    def forward(self, data: list[str]) -> list[bytes]:
        return self.towers.texts(data)


class Decode(_Raw):
    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> Any:
        return self.towers.decode(data)


class Image(_Raw):
    def forward(self, data: list[Any]) -> list[bytes]:
        return self.towers.images(data)


if __name__ == "__main__":
    task = Task.read()
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(task.port), "--log-level", "warning", "--timeout", "60000"]
    server = Server()
    texts = Runtime(Text, num=task.workers, max_batch_size=task.texts_at_once, max_wait_time=WAIT_MS, timeout=60)
    images = Runtime(Image, num=task.workers, max_batch_size=task.images_at_once, max_wait_time=WAIT_MS, timeout=60)
    server.register_runtime({"/text": [texts], "/image": [Runtime(Decode, num=2, timeout=60), images]})
    server.run()
