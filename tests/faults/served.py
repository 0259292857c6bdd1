"""A server process to be killed, and a client of it: ready vectors along the axes, so that who is found is known."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import common_pb2, search_pb2
from clipsearch.v1.catalogue_pb2_grpc import CatalogueServiceStub
from clipsearch.v1.search_pb2_grpc import SearchServiceStub

ROOT = Path(__file__).parents[2]
SAMPLE_BUNDLE = ROOT / "demo/clipsearch_demo/model/bundle"
DIMENSION = 128

BATCH = 250
"""Background vectors in one call."""


@dataclass(frozen=True)
class Client:
    """Calls on one channel."""

    channel: grpc.Channel

    @property
    def catalogue(self) -> CatalogueServiceStub:
        return CatalogueServiceStub(self.channel)

    def health(self) -> int:
        request = health_pb2.HealthCheckRequest()
        return int(health_pb2_grpc.HealthStub(self.channel).Check(request, timeout=10).status)

    def upsert(self, items: Sequence[pb.UpsertItem], request_id: str = "") -> pb.UpsertItemsResponse:
        request = pb.UpsertItemsRequest(items=items, request_id=request_id)
        response: pb.UpsertItemsResponse = self.catalogue.UpsertItems(request, timeout=30)
        return response

    def search(self, vector: np.ndarray, top_k: int, filter_: str = "") -> search_pb2.SearchResponse:
        query = search_pb2.Query(vector=embedding(vector))
        request = search_pb2.SearchRequest(query=query, top_k=top_k, filter=filter_, view=search_pb2.VIEW_METADATA)
        response: search_pb2.SearchResponse = SearchServiceStub(self.channel).Search(request, timeout=30)
        return response

    def listed(self, filter_: str = "") -> dict[str, dict[str, object]]:
        """The metadata of every item by id, page by page, or of those that a filter lets through."""
        found: dict[str, dict[str, object]] = {}
        token = ""
        while True:
            request = pb.ListItemsRequest(page_size=200, page_token=token, filter=filter_)
            page = self.catalogue.ListItems(request, timeout=30)
            found.update((item.id, dict(item.metadata)) for item in page.items)
            token = page.next_page_token
            if not token:
                return found

    def rebuilt(self) -> None:
        """Wait until the index is built that is being built, or that this call has begun."""
        operations = operations_pb2_grpc.OperationsStub(self.channel)
        while True:
            try:
                started = self.catalogue.RebuildIndex(pb.RebuildIndexRequest(), timeout=30)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.ABORTED:
                    raise
                time.sleep(0.1)  # one that the server began by itself has no operation to wait for
                continue
            wait = operations_pb2.WaitOperationRequest(name=started.name, timeout=duration_pb2.Duration(seconds=120))
            finished = operations.WaitOperation(wait, timeout=150)
            assert finished.done and not finished.HasField("error"), finished
            return

    def stats(self) -> pb.GetCollectionStatsResponse:
        response: pb.GetCollectionStatsResponse = self.catalogue.GetCollectionStats(
            pb.GetCollectionStatsRequest(), timeout=30
        )
        return response


def embedding(vector: np.ndarray) -> common_pb2.Embedding:
    return common_pb2.Embedding(float16=vector.astype("<f2").tobytes())


def vector_of(item: int, version: int) -> np.ndarray:
    """A unit vector that tells the item (the larger part) and its version."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[item % 96] = 0.9375
    vector[96 + version % 32] = 0.34798
    return vector


def item_of(item: int, version: int) -> pb.UpsertItem:
    message = pb.UpsertItem(id=f"i{item:03}", vector=embedding(vector_of(item, version)))
    message.metadata.update({"item": item, "version": version})
    return message


def add_background(client: Client, count: int) -> None:
    """Store vectors that are far from those of the clients, and wait until an index of them is built."""
    vectors = np.random.default_rng(0).standard_normal((count, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for start in range(0, count, BATCH):
        some = enumerate(vectors[start : start + BATCH], start)
        client.upsert([pb.UpsertItem(id=f"background-{n}", vector=embedding(vector)) for n, vector in some])
    client.rebuilt()


class Server:
    """``clipsearch serve`` in a process of its own; use as a context manager, and find it serving inside."""

    def __init__(self, data: Path, *more: str) -> None:
        """``more`` are further flags. It has a front, as it has by default."""
        flags = ["--listen", "127.0.0.1:0", "--device", "cpu", "--fronts", "1"]
        flags += ["--bundle", str(SAMPLE_BUNDLE), "--data", str(data)]
        command = [sys.executable, "-m", "clipsearch", "serve", *flags, *more]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.log: list[str] = []
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                with self._grown:
                    self.log.append(line.rstrip())
                    self._grown.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the log."""

        def found() -> re.Match[str] | None:
            return next((match for line in self.log if (match := re.search(pattern, line))), None)

        with self._grown:
            match = self._grown.wait_for(found, timeout=60)
        assert match is not None, "\n".join(self.log)
        return match

    def troubles(self) -> list[str]:
        """The lines of the log that warn of something."""
        return [line for line in self.log if " WARNING " in line or " ERROR " in line]

    def __enter__(self) -> "Server":
        try:
            self.wait_for("serving$")
        except BaseException:
            self.kill()
            raise
        self.address = f"127.0.0.1:{self.wait_for('port ([0-9]+)$')[1]}"
        self.client = Client(grpc.insecure_channel(self.address))
        return self

    def __exit__(self, *_: object) -> None:
        self.client.channel.close()
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
