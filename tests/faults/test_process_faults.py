"""Faults inside the process of a real server: no memory, vectors that are not finite, a clock that is set."""

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from PIL import Image

from clipsearch.errors import OutOfMemory
from clipsearch.v1 import catalogue_pb2, search_pb2
from clipsearch.v1 import embedding_pb2 as pb
from clipsearch.v1.catalogue_pb2_grpc import CatalogueServiceStub
from clipsearch.v1.search_pb2_grpc import SearchServiceStub
from tests.faults.held_server import LIMIT_S, Held, change_encoder, serving, text
from tests.waiting import eventually

COLLECTION = "shop"


def picture(level: int) -> bytes:
    """A grey picture of one level."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (level,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def levels(batch: Sequence[Any]) -> list[int]:
    """What the pictures of a batch were, told from their pixels."""
    return [round(float(pixels.mean())) for pixels in batch]


def reason(status: Any) -> str:
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")


def short_of_memory(lacks: Callable[[Sequence[Any]], bool], seen: list[int]) -> Callable[[Any], Any]:
    """An encoder that finds no memory for some batches; ``seen`` are the sizes of all."""

    def change(encode: Any) -> Any:
        def limited(batch: Sequence[Any]) -> Any:
            seen.append(len(batch))
            if lacks(batch):
                raise OutOfMemory("no memory")
            return encode(batch)

        return limited

    return change


def test_a_batch_too_large_for_the_memory_is_answered_all_the_same() -> None:
    seen: list[int] = []
    with serving() as (running, stub):
        change_encoder(running.app.lanes.image, short_of_memory(lambda batch: len(batch) > 4, seen))
        inputs = [pb.EmbedInput(image=picture(level)) for level in range(0, 250, 5)]
        results = stub.BatchEmbed(pb.BatchEmbedRequest(inputs=inputs), timeout=LIMIT_S).results
        assert all(result.HasField("output") for result in results)
    assert max(seen) <= 8


def test_a_picture_that_finds_no_memory_fails_alone_and_the_server_goes_on() -> None:
    with serving(image_batch_items=1) as (running, stub):
        change_encoder(running.app.lanes.image, short_of_memory(lambda batch: 100 in levels(batch), []))
        inputs = [pb.EmbedInput(image=picture(level)) for level in (50, 100, 150)]
        results = stub.BatchEmbed(pb.BatchEmbedRequest(inputs=inputs), timeout=LIMIT_S).results
        assert [result.HasField("output") for result in results] == [True, False, True]
        assert results[1].error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert reason(results[1].error) == "OUT_OF_MEMORY"
        assert stub.EmbedImage(pb.EmbedImageRequest(image=picture(7)), timeout=LIMIT_S).embedding.float32.values


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_vector_that_is_not_finite_is_never_stored(value: float, tmp_path: Path) -> None:
    def change(encode: Any) -> Any:
        def broken(batch: Sequence[Any]) -> Any:
            vectors = encode(batch).copy()
            for row, level in zip(vectors, levels(batch), strict=True):
                if level == 100:
                    row[3] = value
            return vectors

        return broken

    with serving(data=tmp_path / "data") as (running, stub), grpc.insecure_channel(running.address) as channel:
        change_encoder(running.app.lanes.image, change)
        catalogue, search = CatalogueServiceStub(channel), SearchServiceStub(channel)
        catalogue.CreateCollection(catalogue_pb2.CreateCollectionRequest(collection=COLLECTION), timeout=LIMIT_S)
        items = [
            catalogue_pb2.UpsertItem(id=str(level), images=catalogue_pb2.Images(images=[picture(level)]))
            for level in (50, 100, 150)
        ]
        request = catalogue_pb2.UpsertItemsRequest(collection=COLLECTION, items=items)
        results = catalogue.UpsertItems(request, timeout=LIMIT_S).results
        assert [reason(result.error) for result in results] == ["", "COMPUTE_FAILED", ""]
        with pytest.raises(grpc.RpcError) as caught:
            catalogue.GetItem(catalogue_pb2.GetItemRequest(collection=COLLECTION, id="100"), timeout=LIMIT_S)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        query = search_pb2.Query(image=picture(50))
        found = search.Search(
            search_pb2.SearchRequest(collection=COLLECTION, query=query, top_k=9), timeout=LIMIT_S
        ).hits
        assert {hit.id for hit in found} == {"50", "150"}
        assert all(np.isfinite(hit.score) for hit in found)
        with pytest.raises(grpc.RpcError) as failed:
            stub.EmbedImage(pb.EmbedImageRequest(image=picture(100)), timeout=LIMIT_S)
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        with pytest.raises(grpc.RpcError) as searched:
            query = search_pb2.Query(image=picture(100))
            search.Search(search_pb2.SearchRequest(collection=COLLECTION, query=query, top_k=9), timeout=LIMIT_S)
        assert searched.value.code() is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("days", [-1, 1])
def test_requests_survive_a_clock_that_is_set_while_they_wait(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    with serving() as (running, stub):
        lane = running.app.lanes.text
        held = Held(lane)
        first = text(stub, "a red dress")
        held.wait()
        waiting = [text(stub, f"dress {n}") for n in range(5)]
        eventually(lambda: lane.waiting() == 5)
        monkeypatch.setattr(time, "time", lambda: real() + 86400.0 * days)
        held.release()
        for call in (first, *waiting):
            assert call.result().embedding.float32.values
        monkeypatch.undo()
        assert lane.counts.expired == 0
