"""Plain transformers: CLIPModel and CLIPProcessor behind Python's own HTTP server, one request at a time."""

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from benchmarks.peers.towers import Task


class Floor:
    """What a first try looks like: the checkpoint as it is, float32, and a lock around it."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self._model = CLIPModel.from_pretrained(task.model).eval()
        self._processor = CLIPProcessor.from_pretrained(task.model)
        self._lock = threading.Lock()

    def embed(self, tower: str, body: bytes) -> bytes:
        """Return one unit vector, float32, as bytes."""
        with self._lock, torch.inference_mode():
            if tower == "text":
                inputs = self._processor(text=[body.decode()], return_tensors="pt", padding=True, truncation=True)
                vector = self._model.get_text_features(**inputs)[0]
            else:
                inputs = self._processor(images=Image.open(io.BytesIO(body)), return_tensors="pt")
                vector = self._model.get_image_features(**inputs)[0]
            return bytes((vector / vector.norm()).numpy().tobytes())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    floor: Floor

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.floor.embed(self.path.strip("/"), body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing per request."""


class Server(ThreadingHTTPServer):
    request_queue_size = 256


if __name__ == "__main__":
    task = Task.read()
    Handler.floor = Floor(task)
    Server(("127.0.0.1", task.port), Handler).serve_forever()
