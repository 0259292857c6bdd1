"""A server without room, and collections whose derived files are damaged."""

import logging
import resource
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_status import rpc_status

from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import CollectionOptions
from clipsearch.data import DataDirectory
from clipsearch.index.build import IndexOptions
from clipsearch.index.rules import Kind, Training
from clipsearch.index.storage import find_snapshots
from clipsearch.index.tuning import Report
from clipsearch.services.build_index import derive_index
from clipsearch.services.build_report import RejectLog, Tally

from .served import Server, item_of, vector_of

FILES = ["manifest.json", "vectors.faiss", "ivfpq.faiss", "rows.npy", "ids.offsets", "ids.utf8"]


def test_without_room_a_server_refuses_writes_answers_searches_and_resumes(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        pid, client = server.process.pid, server.client
        client.upsert([item_of(n, 1) for n in range(8)])
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(grpc.RpcError) as refused:
            client.upsert([item_of(n, 2) for n in range(8)], "again")
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "STORAGE_FULL" in str(rpc_status.from_call(refused.value))
        (hit,) = client.search(vector_of(3, 1), 1).hits
        assert (hit.id, dict(hit.metadata)["version"]) == ("i003", 1)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        assert client.upsert([item_of(n, 2) for n in range(8)], "again").sequence_number == 2
        (hit,) = client.search(vector_of(3, 2), 1).hits
        assert (hit.id, dict(hit.metadata)["version"]) == ("i003", 2)


def derive(directory: Path, reader: CatalogueReader, report: Report, training: Training) -> None:
    with RejectLog(directory, Tally()) as rejects:
        options = IndexOptions(kind=Kind.IVFPQ, threads=1, training=training)
        derive_index(directory, reader, queries=None, options=options, report=report, rejects=rejects)


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
@pytest.mark.parametrize(
    "name", ["manifest.json", "vectors.faiss", "ivfpq.faiss", "rows.npy", "ids.offsets", "ids.utf8"]
)
def test_a_damaged_index_is_named_in_one_line_and_built_again(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = CollectionOptions(8, "ab" * 32, derive, device="cpu", threads=1, rebuild_by_itself=False)
    axes = np.eye(8, dtype=np.float32)
    data = DataDirectory(tmp_path, options)
    data.collection("").write([Upsert([Item(f"i{n}", "{}", axes[n].astype(np.float16)) for n in range(8)])])
    data.collection("").rebuild()
    data.close()
    file = find_snapshots(tmp_path / "default")[0] / name
    content = file.read_bytes()
    file.write_bytes(content[:-2] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
    if damage == "gone":
        file.unlink()
    with caplog.at_level(logging.WARNING):
        data = DataDirectory(tmp_path, options)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "will be built again" in line
    collection = data.collection("")
    assert [collection.ids(rows)[0] for rows in collection.view.search(axes, 1)[1]] == [f"i{n}" for n in range(8)]
    assert collection.rebuild().size == 8
    assert [collection.ids(rows)[0] for rows in collection.view.search(axes, 1)[1]] == [f"i{n}" for n in range(8)]
    data.close()
