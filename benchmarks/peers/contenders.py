"""The peers: how each is installed, started and called. What else there is to say of them is in README.md."""

import base64
import json
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.closed_loop import Protocol
from benchmarks.harness.wire import EMBED_IMAGE, EMBED_TEXT, frame
from benchmarks.peers.towers import Task
from clipsearch.v1 import embedding_pb2

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Tower = Literal["text", "image"]
TOWERS: tuple[Tower, ...] = ("text", "image")
Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the path to post to, HTTP headers beside the protocol's own, and the body."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Peer:
    """A server of embeddings over HTTP that takes a text or a JPEG as the body and answers float32 as bytes."""

    folder: ClassVar[str]
    """Of its requirements and its server, and the name of its environment."""
    package: ClassVar[str]
    """Whose version among the requirements is the peer's."""
    protocol: Protocol = "http1"
    model: Literal["bundle", "checkpoint"] = "bundle"
    """Whether it runs our ONNX graphs, or the same weights in PyTorch's float32."""
    towers: Sequence[Tower] = TOWERS
    workers, threads, length, as_ours = 2, 1, 0, False
    at_once = (32, 16)
    """Most texts and most pictures of a batch."""
    unavailable = ""
    """Why it cannot be measured at all, where it cannot; it is reported and not tried."""

    def __init__(self, name: str, **settings: object) -> None:
        self.name = name
        for setting, value in settings.items():
            if not hasattr(type(self), setting):
                raise TypeError(f"{type(self).__name__} has no setting {setting}")
            setattr(self, setting, value)

    @property
    def requirements(self) -> Path | None:
        """The pinned packages of its environment; None where ours is used."""
        return HERE / self.folder / "requirements.txt"

    @property
    def version(self) -> str | None:
        """The peer's version as its requirements pin it; None where they are ours."""
        if self.requirements is None:
            return None
        pinned = dict(line.split("==") for line in self.requirements.read_text(encoding="utf-8").split())
        return pinned[self.package]

    def task(self, model: Path, port: int) -> Task:
        """Return what the server is told."""
        return Task(str(model), port, self.workers, self.threads, self.length, self.as_ours, *self.at_once)

    def command(self, python: Path, task: Task) -> list[str]:
        """Return the command that starts it in its environment."""
        return [str(python), str(HERE / self.folder / "server.py")]

    def variables(self, task: Task) -> dict[str, str]:
        """Return what is set in its environment variables."""
        return {
            **task.environment(),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'server'}",
            "PYTHONUNBUFFERED": "1",
            # No framework is to report home or look for models there.
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
        }

    def call(self, tower: Tower, item: str | bytes, task: Task) -> Call:
        """Return the request that embeds a text or a JPEG."""
        return Call(f"/{tower}", {"content-type": "application/octet-stream"}, _bytes(item))

    def vector(self, tower: Tower, answer: bytes) -> Float32:
        """Return the vector in an answer's body."""
        return np.frombuffer(answer, dtype=np.float32)


class Json(Peer):
    """Takes JSON with the picture in base64, as most frameworks do."""

    def call(self, tower: Tower, item: str | bytes, task: Task) -> Call:
        return _json(f"/{tower}", {tower: _plain(item)})


class Clipsearch(Peer):
    """Ours, with its default settings but for the cache of queries, which would answer for the model."""

    folder = "clipsearch"
    protocol = "grpc"

    @property
    def requirements(self) -> None:
        return None

    def command(self, python: Path, task: Task) -> list[str]:
        options = ["--bundle", task.model, "--device", "cpu", "--log-level", "warning", "--query-cache-mib", "0"]
        return [sys.executable, "-m", "clipsearch", "serve", "--listen", f"127.0.0.1:{task.port}", *options]

    def variables(self, task: Task) -> dict[str, str]:
        return {}

    def call(self, tower: Tower, item: str | bytes, task: Task) -> Call:
        if isinstance(item, str):
            return Call(EMBED_TEXT, {}, frame(embedding_pb2.EmbedTextRequest(text=item)))
        return Call(EMBED_IMAGE, {}, frame(embedding_pb2.EmbedImageRequest(image=item)))

    def vector(self, tower: Tower, answer: bytes) -> Float32:
        kind = embedding_pb2.EmbedTextResponse if tower == "text" else embedding_pb2.EmbedImageResponse
        return np.array(kind.FromString(answer).embedding.float32.values, dtype=np.float32)


class Ray(Clipsearch):
    """Ray Serve's gRPC proxy, with our messages."""

    folder = "ray"
    package = "ray"
    requirements = Peer.requirements
    command = Peer.command

    def variables(self, task: Task) -> dict[str, str]:
        return {**Peer.variables(self, task), "RAY_USAGE_STATS_ENABLED": "0"}


class Mosec(Peer):
    """mosec over HTTP, bodies as they are."""

    folder = "mosec"
    package = "mosec"


class LitServe(Json):
    """LitServe over HTTP, JSON to it and bytes back."""

    folder = "litserve"
    package = "litserve"


class PyTriton(Peer):
    """Triton over HTTP with its binary extension: a JSON header, then each text or picture with its length."""

    folder = "pytriton"
    package = "nvidia-pytriton"

    def variables(self, task: Task) -> dict[str, str]:
        # Triton's Python backend is linked with libpython, which environments made by venv don't have beside them.
        return {**super().variables(task), "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}

    def call(self, tower: Tower, item: str | bytes, task: Task) -> Call:
        data = _bytes(item)
        tensor = len(data).to_bytes(4, "little") + data
        header = {
            "inputs": [
                {
                    "name": "input", "shape": [1, 1], "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "parameters": {"binary_data_output": True},
        }  # fmt: skip
        # All headers of one length, so that one set of HTTP headers goes for all bodies.
        text = json.dumps(header).encode().ljust(256)
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(text))}
        return Call(f"/v2/models/{tower}/infer", headers, text + tensor)

    def vector(self, tower: Tower, answer: bytes) -> Float32:
        return np.frombuffer(answer[-4 * 512 :], dtype=np.float32)


class BentoML(Json):
    """BentoML over HTTP, JSON both ways; a batchable API takes lists, so each call is a list of one."""

    folder = "bentoml"
    package = "bentoml"

    def command(self, python: Path, task: Task) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(task.port), "--working-dir", str(HERE / self.folder)]
        return [str(python), "-m", "bentoml", "serve", "server:Clip", *options]

    def variables(self, task: Task) -> dict[str, str]:
        return {**super().variables(task), "BENTOML_DO_NOT_TRACK": "1"}

    def call(self, tower: Tower, item: str | bytes, task: Task) -> Call:
        return _json(f"/{tower}", {f"{tower}s": [_plain(item)]})

    def vector(self, tower: Tower, answer: bytes) -> Float32:
        return np.array(json.loads(answer)[0], dtype=np.float32)


class Transformers(Peer):
    """The floor: the checkpoint behind Python's own HTTP server."""

    folder = "transformers"
    package = "transformers"
    model = "checkpoint"
    workers, threads = 1, 2


class Infinity(Peer):
    """infinity as it ships: its own server, PyTorch, its own tokenizer and preprocessing; vectors in base64."""

    folder = "infinity"
    package = "infinity_emb"
    model = "checkpoint"
    workers, threads = 1, 2

    def command(self, python: Path, task: Task) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(task.port), "--model-id", task.model, "--engine", "torch"]
        options += ["--device", "cpu", "--dtype", "float32", "--batch-size", str(task.texts_at_once)]
        # Its cache would answer inputs that come again, and its warm-up measures for a minute.
        options += ["--no-vector-disk-cache", "--no-model-warmup", "--no-bettertransformer"]
        options += ["--served-model-name", "clip", "--log-level", "warning"]
        return [str(python.with_name("infinity_emb")), "v2", *options]

    def variables(self, task: Task) -> dict[str, str]:
        return {**super().variables(task), "INFINITY_ANONYMOUS_USAGE_STATS": "0"}

    def call(self, tower: Tower, item: str | bytes, task: Task) -> Call:
        text = item if isinstance(item, str) else f"data:image/jpeg;base64,{_plain(item)}"
        request = {"model": "clip", "input": [text], "modality": tower, "encoding_format": "base64"}
        return _json("/embeddings", request)

    def vector(self, tower: Tower, answer: bytes) -> Float32:
        return np.frombuffer(base64.b64decode(json.loads(answer)["data"][0]["embedding"]), dtype=np.float32)


class ClipServer(Peer):
    """clip-as-service."""

    folder = "clip_server"
    package = "clip-server"
    unavailable = (
        "its PyTorch server takes weights only by the names of its own list, downloads them and checks their MD5; its "
        "ONNX one wants graphs of other inputs; torchvision, which it needs, does not load beside a CPU build of torch"
    )


def _bytes(item: str | bytes) -> bytes:
    return item.encode() if isinstance(item, str) else item


def _plain(item: str | bytes) -> str:
    return item if isinstance(item, str) else base64.b64encode(item).decode()


def _json(path: str, value: object) -> Call:
    return Call(path, {"content-type": "application/json"}, json.dumps(value).encode())


PEERS: tuple[Peer, ...] = (
    Clipsearch("clipsearch"),
    Mosec("mosec"),
    Mosec("mosec, as ours", as_ours=True, at_once=(16, 4)),
    Mosec("mosec, padded to 77", length=77, towers=("text",)),
    PyTriton("PyTriton"),
    LitServe("LitServe"),
    Ray("Ray Serve"),
    BentoML("BentoML"),
    Infinity("infinity"),
    ClipServer("clip-as-service"),
    Transformers("transformers"),
)
