"""Searches, writes and rebuilds at once over gRPC: none fails, and every answer is of one state.

Each write gives all items a new generation, in their vectors and in their metadata, so an answer that mixes two states
shows. ``CLIPSEARCH_CONCURRENT_WRITES=2000`` goes on for minutes.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2

from clipsearch.settings import Settings
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import common_pb2, search_pb2
from clipsearch.v1.catalogue_pb2_grpc import CatalogueServiceStub
from clipsearch.v1.search_pb2_grpc import SearchServiceStub

from .support import SAMPLE_BUNDLE, Running

DIMENSION, ITEMS, GENERATIONS = 128, 8, 64
WRITES = int(os.environ.get("CLIPSEARCH_CONCURRENT_WRITES", "60"))


def embedding(generation: int) -> common_pb2.Embedding:
    vector = np.zeros(DIMENSION, np.float32)
    vector[0] = vector[1 + generation % GENERATIONS] = np.sqrt(0.5)
    return common_pb2.Embedding(float32=common_pb2.FloatVector(values=vector.tolist()))


def write(channel: grpc.Channel, generation: int) -> int:
    items = [pb.UpsertItem(id=f"i{n}", vector=embedding(generation)) for n in range(ITEMS)]
    for item in items:
        item.metadata.update({"generation": generation})
    response = CatalogueServiceStub(channel).UpsertItems(pb.UpsertItemsRequest(items=items), timeout=30)
    return int(response.sequence_number)


def check_hits(response: search_pb2.SearchResponse, ids: set[str]) -> None:
    """All items once, all of the generation that the sequence number says, in metadata and in vectors."""
    assert {hit.id for hit in response.hits} == ids and len(response.hits) == len(ids)
    generations = {int(dict(hit.metadata)["generation"]) for hit in response.hits}
    assert generations == {response.sequence_number}
    for hit in response.hits:
        assert np.argmax(hit.embedding.float32.values[1:]) == response.sequence_number % GENERATIONS


def searches(channel: grpc.Channel) -> list[Callable[[], None]]:
    """One search of each kind that names something which an update replaces."""
    stub = SearchServiceStub(channel)
    everyone = {f"i{n}" for n in range(ITEMS)}

    def search(ids: set[str], query: search_pb2.Query, **fields: object) -> None:
        request = search_pb2.SearchRequest(query=query, top_k=ITEMS, view=search_pb2.VIEW_FULL, **fields)  # type: ignore[arg-type]
        check_hits(stub.Search(request, timeout=30), ids)

    vector = search_pb2.Query(vector=embedding(0))
    return [
        lambda: search(everyone, vector),
        lambda: search(everyone, vector, filter="generation > 0"),
        lambda: search(everyone - {"i3"}, vector, exclude_ids=["i3"]),
        lambda: search(everyone, search_pb2.Query(item_id="i5")),
    ]


def test_no_search_fails_or_mixes_two_states(tmp_path: Path) -> None:
    settings = Settings(bundle=SAMPLE_BUNDLE, data=tmp_path, listen="127.0.0.1:0", device="cpu")
    done, failures, counts = threading.Event(), [], [0, 0]

    def repeat(place: int, step: Callable[[], None]) -> None:
        try:
            while not done.is_set():
                step()
                counts[place] += 1
        except BaseException as error:  # noqa: BLE001  # told to the test's own thread
            failures.append(error)
            done.set()

    with Running(settings) as running, grpc.insecure_channel(running.address) as channel:
        operations = operations_pb2_grpc.OperationsStub(channel)

        def rebuild() -> None:
            started = CatalogueServiceStub(channel).RebuildIndex(pb.RebuildIndexRequest(), timeout=30)
            wait = operations_pb2.WaitOperationRequest(name=started.name, timeout=duration_pb2.Duration(seconds=30))
            finished = operations.WaitOperation(wait, timeout=40)
            assert finished.done and not finished.HasField("error"), finished

        assert write(channel, 1) == 1
        steps = [(0, search) for search in searches(channel)] + [(1, rebuild)]
        threads = [threading.Thread(target=repeat, args=step) for step in steps]
        for thread in threads:
            thread.start()
        generation = 1
        while not done.is_set() and (generation < WRITES or min(counts) < 3):
            generation += 1
            assert write(channel, generation) == generation
        done.set()
        for thread in threads:
            thread.join(60)
    if failures:
        pytest.fail(f"after {counts} searches and rebuilds: {failures[0]!r}")
