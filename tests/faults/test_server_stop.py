"""SIGTERM to a server that is building an index, and to one with much to replay."""

import signal
from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from google.longrunning.operations_pb2_grpc import OperationsStub

from benchmarks.clustered_vectors import clustered
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Upsert
from clipsearch.catalogue.writer import CatalogueWriter
from clipsearch.index.rules import FLAT_LIMIT
from clipsearch.v1 import catalogue_pb2 as pb

from .served import DIMENSION, Server, item_of, vector_of

GRACE_S = 10
"""The default of a server."""


def fill(data: Path, n: int) -> None:
    """A catalogue of n items that no index knows of."""
    with CatalogueWriter(data / "default", DIMENSION, None) as writer:
        vectors = clustered(n, DIMENSION, 1).base.astype("float16")
        for start in range(0, n, 1000):
            items = [Item(f"i{start + i}", "{}", vector) for i, vector in enumerate(vectors[start : start + 1000])]
            (answer,) = writer.apply([Upsert(items)])
            assert isinstance(answer, Applied)


def stop(server: Server) -> None:
    """Ask it to stop, and see that it does so in good order and in time."""
    server.process.send_signal(signal.SIGTERM)
    # A little more than the grace period: a step of a build, on a machine with other work, may end just after it.
    assert server.process.wait(timeout=GRACE_S + 5) == 0, "\n".join(server.log)


def directories(data: Path) -> set[str]:
    return {path.name for path in (data / "default").iterdir() if path.is_dir()}


def train(server: Server) -> None:
    """Have an index trained, and return while that is going on."""
    training = pb.REBUILD_TRAINING_ALWAYS
    name = server.client.catalogue.RebuildIndex(pb.RebuildIndexRequest(training=training), timeout=30).name
    operations, progress = OperationsStub(server.client.channel), pb.RebuildIndexMetadata()
    while progress.stage != "training":
        operation = operations.GetOperation(operations_pb2.GetOperationRequest(name=name), timeout=30)
        assert not operation.done, operation
        operation.metadata.Unpack(progress)


@pytest.mark.parametrize("while_training", [False, True])
def test_sigterm_ends_a_rebuild_and_leaves_nothing_half_built(tmp_path: Path, while_training: bool) -> None:
    n = FLAT_LIMIT + 10_000
    fill(tmp_path, n)
    with Server(tmp_path) as server:
        server.wait_for("rebuilding the index")
        if while_training:
            server.client.rebuilt()
            server.client.upsert([item_of(1, 1)])
            train(server)
        stop(server)
    assert not server.troubles()
    assert directories(tmp_path) == ({"index-30"} if while_training else set())
    with Server(tmp_path) as again:
        stats = again.client.stats()
        assert stats.items == n + while_training
        (hit,) = again.client.search(vector_of(1, 1), 1).hits
        assert (hit.id == "i001") is while_training
        assert not again.troubles()
        stop(again)


def test_what_would_take_long_to_replay_is_in_an_index_after_sigterm(tmp_path: Path) -> None:
    fill(tmp_path, FLAT_LIMIT)
    with Server(tmp_path) as server:
        # One is begun by itself; it ends before it is done, or on a fast machine is done.
        server.wait_for("rebuilding the index")
        stop(server)
    server.wait_for("wrote an index for the next start|serving index-")
    with Server(tmp_path) as again:
        stats = again.client.stats()
        assert (stats.items, stats.delta_items, stats.index.sequence_number) == (FLAT_LIMIT, 0, stats.sequence_number)
        assert not again.troubles()
        stop(again)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    fill(tmp_path, FLAT_LIMIT)
    with Server(tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        server.wait_for("draining")
        server.process.send_signal(signal.SIGINT)
        # Or it had stopped by then; but it never ends with a traceback, nor waits for threads.
        assert server.process.wait(timeout=GRACE_S) in (0, -signal.SIGINT)
    assert not any("Traceback" in line for line in server.log)
    with Server(tmp_path) as again:
        assert again.client.stats().items == FLAT_LIMIT
        stop(again)
