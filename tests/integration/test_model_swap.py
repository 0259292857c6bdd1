"""Another bundle for a server that serves: every call is answered, by one model, whatever is swapped meanwhile."""

import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from clipsearch.client import Client, FailedPrecondition, InvalidArgument, NewItem, NotFound, Query
from clipsearch.settings import Settings
from tests.integration.bundles import Bundles
from tests.integration.support import Running
from tests.integration.swap_support import LIMIT_S, Callers, serving

TEXTS = ["a red shirt", "green boots", "a plain white cotton shirt with long sleeves", "bag"]


def test_no_call_fails_and_no_answer_mixes_models_while_they_are_swapped(
    bundles: Bundles, pictures: list[Path]
) -> None:
    with serving(bundles) as (_, client):
        expected: dict[int, list[np.ndarray]] = {}

        def reference() -> None:
            vectors = [client.embed_text(text).vector for text in TEXTS] + [client.embed_image(pictures[0]).vector]
            expected[len(vectors[0])] = vectors

        reference()
        client.models.reload("other").wait(LIMIT_S)
        reference()
        assert set(expected) == {128, 48}, "two models that cannot be taken for each other"
        seen: set[int] = set()

        def check(vectors: list[np.ndarray], places: list[int]) -> None:
            (size,) = {len(vector) for vector in vectors}
            seen.add(size)
            for vector, place in zip(vectors, places, strict=True):
                assert vector @ expected[size][place] > 0.999

        def batch() -> None:
            results = client.embed_batch([*TEXTS, pictures[0]])
            check([result.vector for result in results], [0, 1, 2, 3, 4])  # type: ignore[union-attr]

        def stream() -> None:
            pairs = [(i, TEXTS[i % 4]) for i in range(40)]
            answers = dict(client.stream_embed(pairs, window=4))
            check([answers[i].vector for i, _ in pairs], [i % 4 for i, _ in pairs])  # type: ignore[union-attr]

        with Callers(
            lambda: check([client.embed_text(TEXTS[2]).vector], [2]),
            lambda: check([client.embed_image(pictures[0]).vector], [4]),
            batch,
            stream,
        ) as callers:
            for _ in range(3):
                for name in ("fp32", "other"):
                    callers.let_each_make(2)
                    assert client.models.reload(name).wait(LIMIT_S).swapped
            callers.let_each_make(2)
        assert seen == {128, 48}


def test_searches_and_writes_go_on_while_precisions_are_swapped(
    bundles: Bundles, pictures: list[Path], tmp_path: Path
) -> None:
    with serving(bundles, tmp_path / "data") as (_, client):
        items = [NewItem(f"item-{i}", image=path, metadata={"n": i}) for i, path in enumerate(pictures)]
        client.catalogue.upsert(items)
        written = iter(range(10**9))

        def by_picture() -> None:
            for i in (3, 7):
                assert client.search(image=pictures[i], top_k=1, view="metadata").hits[0].metadata == {"n": i}

        def composed() -> None:
            found = client.search(item_id="item-5", top_k=3)
            assert found.hits[0].id == "item-5"
            assert (
                len(client.search(terms=[(Query(text="a shirt"), 0.01), (Query(image=pictures[4]), 1.0)], top_k=2).hits)
                == 2
            )

        def write() -> None:
            item_id = f"new-{next(written)}"
            client.catalogue.upsert([NewItem(item_id, image=pictures[0], metadata={"n": 0})])
            assert client.catalogue.get_item(item_id).metadata == {"n": 0}

        precisions = []
        with Callers(by_picture, composed, write) as callers:
            for _ in range(3):
                for name in ("int8", "fp32"):
                    callers.let_each_make(2)
                    client.models.reload(name).wait(LIMIT_S)
                    precisions.append(client.model().precision)
            callers.let_each_make(2)
        assert precisions == ["int8", "fp32"] * 3


def test_what_serves_is_told_everywhere_and_the_same_bundle_is_not_loaded_again(
    bundles: Bundles, tmp_path: Path
) -> None:
    with serving(bundles, tmp_path / "data", metrics_listen="127.0.0.1:0") as (running, client):
        told = client.models.reload("int8").wait(LIMIT_S)
        assert (told.previous.precision, told.model.precision, told.swapped) == ("fp32", "int8", True)
        assert client.model() == told.model
        with urlopen(f"http://127.0.0.1:{running.app.metrics_port}/metrics", timeout=LIMIT_S) as page:
            (build,) = [line for line in page.read().decode().splitlines() if line.startswith("clipsearch_build_info{")]
        assert 'precision="int8"' in build
        again = client.models.reload("int8").wait(LIMIT_S)
        assert not again.swapped
        assert again.model == again.previous == told.model
        assert client.ready()


def test_an_old_model_lives_as_long_as_a_call_holds_it(bundles: Bundles) -> None:
    with serving(bundles) as (running, client):
        gone = threading.Event()
        old = weakref.ref(running.app.encoders.text, lambda _: gone.set())
        go_on = threading.Event()

        def texts() -> Iterator[tuple[int, str]]:
            yield 0, TEXTS[0]
            assert go_on.wait(LIMIT_S)
            yield 1, TEXTS[1]

        answers = client.stream_embed(texts(), window=1)
        before = next(answers)[1]
        client.models.reload("other").wait(LIMIT_S)
        assert client.embed_text(TEXTS[0]).vector.shape == (48,)
        assert old() is not None
        go_on.set()
        after = next(answers)[1]
        assert before.vector.shape == after.vector.shape == (128,)  # type: ignore[union-attr]
        assert list(answers) == []
        assert gone.wait(LIMIT_S), "nobody holds it any more"


def test_a_bundle_that_cannot_serve_leaves_everything_as_it_was(bundles: Bundles, tmp_path: Path) -> None:
    damaged = bundles.directory / "damaged"
    shutil.copytree(bundles.int8, damaged)
    weights = max(damaged.glob("*.weights"), key=lambda file: file.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\1")
    with serving(bundles) as (_, client):
        before = client.embed_text(TEXTS[0]).vector
        with pytest.raises(FailedPrecondition, match=weights.name) as caught:
            client.models.reload("damaged").wait(LIMIT_S)
        assert caught.value.reason == "BUNDLE_UNUSABLE"
        assert str(damaged.parent) not in caught.value.message
        with pytest.raises(NotFound):
            client.models.reload("nothing-there")
        with pytest.raises(InvalidArgument):
            client.models.reload("../fp32")
        np.testing.assert_allclose(client.embed_text(TEXTS[0]).vector, before, atol=1e-6)
        assert client.ready()


def test_other_weights_are_refused_where_collections_hold_items_and_the_way_out_is_named(
    bundles: Bundles, pictures: list[Path], tmp_path: Path
) -> None:
    with serving(bundles, tmp_path / "data") as (_, client):
        client.catalogue.create_collection("shoes")
        client.catalogue.create_collection("empty")
        client.catalogue.upsert([NewItem("one", image=pictures[0])], collection="shoes")
        with pytest.raises(FailedPrecondition, match="clipsearch reembed") as caught:
            client.models.reload("other").wait(LIMIT_S)
        assert caught.value.reason == "COLLECTIONS_OF_ANOTHER_MODEL"
        assert caught.value.metadata["collections"] == "shoes"
        assert client.model().dimension == 128
        assert client.search(image=pictures[0], collection="shoes").hits[0].id == "one"


def test_other_weights_need_nothing_more_where_collections_are_empty(
    bundles: Bundles, pictures: list[Path], tmp_path: Path
) -> None:
    with serving(bundles, tmp_path / "data") as (_, client):
        client.catalogue.create_collection("shoes")
        assert client.models.reload("other").wait(LIMIT_S).swapped
        client.catalogue.upsert([NewItem("one", image=pictures[0])], collection="shoes")
        assert client.catalogue.stats("shoes").dimension == 48
        assert client.catalogue.collections() == ["default", "shoes"]


def test_without_the_setting_only_the_servers_own_bundle_is_read(bundles: Bundles) -> None:
    settings = Settings(bundle=bundles.fp32, listen="127.0.0.1:0", device="cpu")
    with Running(settings) as running, Client(running.address) as client:
        with pytest.raises(FailedPrecondition, match="bundles") as caught:
            client.models.reload("int8")
        assert caught.value.reason == "NOT_CONFIGURED"
        assert not client.models.reload().wait(LIMIT_S).swapped


def test_sighup_swaps_the_bundle_that_a_link_has_come_to_name(bundles: Bundles, tmp_path: Path) -> None:
    link = tmp_path / "bundle"
    link.symlink_to(bundles.fp32)
    command = [sys.executable, "-m", "clipsearch", "serve", "--listen", "127.0.0.1:0", "--device", "cpu"]
    with subprocess.Popen([*command, "--bundle", str(link)], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr)
            port = next(line for line in lines if ", port " in line).split()[-1]
            next(line for line in lines if line.rstrip().endswith("serving"))
            with Client(f"127.0.0.1:{port}", timeout=LIMIT_S) as client:
                assert client.model().precision == "fp32"
                for target, precision in ((bundles.int8, "int8"), (bundles.fp32, "fp32")):
                    with Callers(lambda: client.embed_text("a red shirt")) as callers:  # type: ignore[arg-type,return-value]
                        callers.let_each_make(1)
                        _point(link, target)
                        process.send_signal(1)
                        next(line for line in lines if "serving checkpoint" in line)
                        callers.let_each_make(1)
                    assert client.model().precision == precision
                _point(link, tmp_path / "nowhere")
                process.send_signal(1)
                assert "the model stays what it was" in next(line for line in lines if "reload" in line)
                assert client.model().precision == "fp32"
            process.terminate()
            assert process.wait(LIMIT_S) == 0
        finally:
            process.kill()


def _point(link: Path, target: Path) -> None:
    """Move a link in one step, as a deployment does."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


def test_memory_does_not_grow_from_swap_to_swap(bundles: Bundles) -> None:
    command = [sys.executable, "-m", "tests.integration.swapping", str(bundles.directory), "fp32", "int8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    grown_kib, model_kib = map(int, done.stdout.split())
    assert grown_kib < 2 * model_kib, "twenty swaps that each left a model behind would have left twenty"
