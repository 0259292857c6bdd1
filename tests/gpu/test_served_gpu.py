"""A server on a GPU beside one on the CPU: the same answers, whatever was written, deleted and built anew meanwhile."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

import numpy as np
import pytest

from benchmarks.harness.workload import made_pictures
from clipsearch.client import Client, NewItem, SearchResult
from clipsearch.settings import Settings
from tests.gpu.marks import on_a_gpu
from tests.integration.support import SAMPLE_BUNDLE, Running
from tests.unit.encoders.helpers import needs_nvimagecodec

T = TypeVar("T")

pytestmark = on_a_gpu

COLOURS, THINGS = ("red", "blue", "green", "black", "white", "yellow"), ("dress", "mug", "lamp", "shoe", "chair", "bag")
TEXTS = [f"a {colour} {thing}" for colour in COLOURS for thing in THINGS]


class Pair:
    """The two, asked the same."""

    def __init__(self, gpu: Client, cpu: Client) -> None:
        self._gpu, self._cpu = gpu, cpu

    def each(self, ask: Callable[[Client], T]) -> tuple[T, T]:
        """Return what both say."""
        return ask(self._gpu), ask(self._cpu)

    def agree(self, **options: object) -> None:
        """Search by all texts at once, so that batches form, and compare the hits."""

        def searched(client: Client) -> list[SearchResult]:
            with ThreadPoolExecutor(12) as threads:
                return list(threads.map(lambda text: client.search(text=text, **options), TEXTS))  # type: ignore[arg-type]

        for mine, right in zip(*self.each(searched), strict=True):
            assert len(mine.hits) == len(right.hits) > 0
            # Texts that say the same may stand in any order; scores do not.
            np.testing.assert_allclose([h.score for h in mine.hits], [h.score for h in right.hits], atol=3e-3)
            assert len({h.id for h in mine.hits} & {h.id for h in right.hits}) >= 0.9 * len(right.hits)


def server(device: str, **more: object) -> Running:
    settings = {"bundle": SAMPLE_BUNDLE, "listen": "127.0.0.1:0", "device": device, "fronts": 0}
    return Running(Settings.model_validate({**settings, **more}))


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        clients = []
        for device in ("cuda", "cpu"):
            running = stack.enter_context(server(device, data=tmp_path_factory.mktemp(device)))
            assert running.app.encoders.device == device
            clients.append(stack.enter_context(Client(running.address)))
        yield Pair(*clients)


def items(start: int, stop: int) -> list[NewItem]:
    """Return items by texts that are no two the same."""
    texts = [f"{TEXTS[number % len(TEXTS)]} number {number}" for number in range(start, stop)]
    return [NewItem(f"item-{start + n}", text=text, metadata={"n": n % 5}) for n, text in enumerate(texts)]


def test_both_answer_alike_through_writes_deletions_and_rebuilds(pair: Pair) -> None:
    pair.each(lambda client: client.catalogue.upsert(items(0, 200)))
    pair.agree()  # of what is newer than the index alone: there is none
    for operation in pair.each(lambda client: client.catalogue.rebuild_index()):
        assert operation.wait(120).size == 200
    pair.agree(top_k=50)
    pair.each(lambda client: client.catalogue.upsert(items(200, 280)))
    pair.each(lambda client: client.catalogue.delete([f"item-{number}" for number in range(0, 280, 7)]))
    pair.agree()
    pair.agree(filter="n = 3", top_k=30)
    for operation in pair.each(lambda client: client.catalogue.rebuild_index(train=True)):
        assert operation.wait(120).size == 240
    pair.agree()
    pair.agree(filter="n >= 1 AND n <= 2", top_k=100)


def test_vectors_and_texts_find_what_was_written(pair: Pair) -> None:
    pair.each(lambda client: client.catalogue.upsert(items(0, 120)))
    for operation in pair.each(lambda client: client.catalogue.rebuild_index()):
        operation.wait(120)
    wanted = [items(number, number + 1)[0] for number in (3, 50, 119)]
    for item in wanted:
        text = item.text or ""
        mine, right = pair.each(lambda client, text=text: client.embed_text(text).vector)  # type: ignore[misc]
        assert float(mine @ right) >= 0.999
        for found in pair.each(lambda client, vector=mine: client.search(vector=vector, top_k=1)):  # type: ignore[misc]
            assert found.hits[0].id == item.id


@needs_nvimagecodec
def test_jpegs_are_decoded_there_where_that_is_set() -> None:
    pictures = made_pictures(4, 0)
    with server("cpu") as running, Client(running.address) as client:
        right = [client.embed_image(picture).vector for picture in pictures]
    with server("cuda", jpeg_decoder="nvjpeg", decode_isolation="none") as running, Client(running.address) as client:
        assert running.app.decoding.jpegs is not None
        assert running.app.encoders.preprocessor._jpegs is running.app.decoding.jpegs
        for picture, vector in zip(pictures, right, strict=True):
            assert float(client.embed_image(picture).vector @ vector) >= 0.999
