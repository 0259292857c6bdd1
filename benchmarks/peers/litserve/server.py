"""LitServe: two APIs on one server, JSON in, bytes out, batches formed in the inference processes."""

import base64
from typing import Any

import litserve
from fastapi import Response

from benchmarks.peers.towers import Task, Towers

WAIT_S = 0.005
"""How long a batch that is not full waits for more."""


class _Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.towers = Towers(Task.read())

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="application/octet-stream")


class Text(_Api):
    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, x: list[str]) -> list[bytes]:
        return self.towers.texts(x)


class Image(_Api):
    def decode_request(self, request: dict[str, str]) -> Any:
        return self.towers.decode(base64.b64decode(request["image"]))

    def predict(self, x: list[Any]) -> list[bytes]:
        return self.towers.images(x)


if __name__ == "__main__":
    task = Task.read()
    apis = [
        Text(max_batch_size=task.texts_at_once, batch_timeout=WAIT_S, api_path="/text"),
        Image(max_batch_size=task.images_at_once, batch_timeout=WAIT_S, api_path="/image"),
    ]
    server = litserve.LitServer(apis, accelerator="cpu", workers_per_device=task.workers, timeout=60)
    server.run(host="127.0.0.1", port=task.port, log_level="warning", generate_client_file=False)
