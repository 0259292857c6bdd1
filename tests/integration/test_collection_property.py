"""A collection against a dictionary: random writes, searches, rebuilds and restarts, equal after every step.

``CLIPSEARCH_PROPERTY_EXAMPLES=500 pytest tests/integration/test_collection_property.py`` tries so many sequences of
steps, other ones each time; without it a few are tried, the same ones always.
"""

import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clipsearch.catalogue.filters.compile import compile_filter
from clipsearch.catalogue.items import Item
from clipsearch.catalogue.mutations import Applied, Delete, Upsert
from clipsearch.catalogue.reader import CatalogueReader
from clipsearch.collection import Collection, CollectionOptions
from clipsearch.data import DataDirectory
from clipsearch.errors import Cancelled, CollectionNotFound, InvalidInput
from clipsearch.index.build import IndexOptions
from clipsearch.index.rules import Kind, Training
from clipsearch.index.storage import find_snapshots
from clipsearch.index.tuning import Report
from clipsearch.ports import Vectors
from clipsearch.services.build_index import derive_index
from clipsearch.services.build_report import RejectLog, Tally
from clipsearch.services.recall import RecallMonitor
from clipsearch.services.searcher import Neighbours, Probe, Searcher

DIMENSION = 8
IDS = [f"i{n}" for n in range(14)]
MODEL = "ab" * 32
EXAMPLES = int(os.environ.get("CLIPSEARCH_PROPERTY_EXAMPLES", "0"))

_drawn = np.random.default_rng(0).standard_normal((12, DIMENSION))
POOL: Vectors = (_drawn / np.linalg.norm(_drawn, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)

ids = st.sampled_from(IDS)
versions = st.integers(0, len(POOL) - 1)
kinds = st.integers(0, 2)


@dataclass(frozen=True)
class Known:
    """What the model remembers of an item."""

    version: int
    kind: int


class CollectionMachine(RuleBasedStateMachine):
    """The steps; ``items`` is the model."""

    @initialize(kind=st.sampled_from([Kind.FLAT, Kind.IVFPQ]))
    def begin(self, kind: Kind) -> None:
        self.kind = kind
        self.items: dict[str, Known] = {}
        self.seq = 0
        self.rebuilding: threading.Thread | None = None
        self.failures: list[Exception] = []
        self.root = Path(tempfile.mkdtemp())
        self.open()

    def open(self) -> None:
        options = CollectionOptions(DIMENSION, MODEL, self.derive, device="cpu", threads=1, rebuild_by_itself=False)
        self.data = DataDirectory(self.root, options)
        self.searcher = Searcher(self.data, RecallMonitor(0.0))

    @property
    def collection(self) -> Collection:
        return self.data.collection("")

    def derive(self, directory: Path, reader: CatalogueReader, report: Report, training: Training) -> None:
        with RejectLog(directory, Tally()) as rejects:
            options = IndexOptions(kind=self.kind, threads=1, training=training)
            derive_index(directory, reader, queries=None, options=options, report=report, rejects=rejects)

    def write(self, mutation: Upsert | Delete, expected: list[str], changed: bool) -> None:
        (answer,) = self.collection.write([mutation])
        assert isinstance(answer, Applied)
        assert list(answer.outcomes) == expected
        self.seq += changed
        assert answer.seq == self.seq

    @rule(item_ids=st.lists(ids, min_size=1, max_size=5, unique=True), version=versions, kind=kinds)
    def upsert(self, item_ids: list[str], version: int, kind: int) -> None:
        expected = []
        for item_id in item_ids:
            old = self.items.get(item_id)
            self.items[item_id] = Known(version, kind)
            unchanged = old == self.items[item_id]
            expected.append("CREATED" if old is None else "UNCHANGED" if unchanged else "UPDATED")
        vector = POOL[version].astype(np.float16)
        items = [Item(item_id, f'{{"kind":{kind}}}', vector, bytes([version])) for item_id in item_ids]
        self.write(Upsert(items), expected, any(word != "UNCHANGED" for word in expected))

    @precondition(lambda self: self.items)
    @rule(data=st.data(), kind=kinds)
    def change_metadata(self, data: st.DataObject, kind: int) -> None:
        item_id = data.draw(st.sampled_from(sorted(self.items)))
        old = self.items[item_id]
        self.items[item_id] = Known(old.version, kind)
        changed = old.kind != kind
        self.write(
            Upsert([Item(item_id, f'{{"kind":{kind}}}', None)]), ["UPDATED" if changed else "UNCHANGED"], changed
        )

    @rule(item_ids=st.lists(ids, min_size=1, max_size=4))
    def delete(self, item_ids: list[str]) -> None:
        found = [self.items.pop(item_id, None) for item_id in item_ids]
        expected = ["NOT_FOUND" if one is None else "DELETED" for one in found]
        self.write(Delete(item_ids), expected, "DELETED" in expected)

    @precondition(lambda self: self.items)
    @rule()
    def rebuild(self) -> None:
        self.await_rebuild()
        manifest = self.collection.rebuild()
        assert (manifest.seq, manifest.size) == (self.seq, len(self.items))

    @precondition(lambda self: self.items and self.rebuilding is None)
    @rule()
    def start_a_rebuild(self) -> None:
        collection = self.collection

        def work() -> None:
            try:
                collection.rebuild()
            except (Cancelled, CollectionNotFound, InvalidInput):
                pass  # closed, or emptied, before it was done
            except Exception as error:  # noqa: BLE001  # told to the test's own thread
                self.failures.append(error)

        self.rebuilding = threading.Thread(target=work)
        self.rebuilding.start()

    @rule()
    def await_rebuild(self) -> None:
        if self.rebuilding is not None:
            self.rebuilding.join(30)
            assert not self.rebuilding.is_alive()
            self.rebuilding = None
        assert not self.failures

    @rule(left=st.sampled_from(["whole", "torn", "removed"]))
    def restart(self, left: str) -> None:
        self.data.close()
        self.await_rebuild()
        for path in find_snapshots(self.root / "default") if left != "whole" else []:
            if left == "removed":
                shutil.rmtree(path)
            else:
                torn = path / "vectors.faiss"
                torn.write_bytes(torn.read_bytes()[:-1])
        self.open()
        assert (self.collection.stats().index is None) or left == "whole"

    @rule(
        version=versions,
        top_k=st.integers(1, 20),
        kind=st.none() | kinds,
        excluded=st.frozensets(ids, max_size=3),
        min_score=st.none() | st.just(0.2),
    )
    def search(
        self, version: int, top_k: int, kind: int | None, excluded: frozenset[str], min_score: float | None
    ) -> None:
        condition = None if kind is None else compile_filter(f"kind = {kind}")
        probe = Probe(top_k, with_vectors=True, condition=condition, excluded=excluded, min_score=min_score)
        (found,) = self.searcher.search(POOL[version][None], [probe])
        assert isinstance(found, Neighbours)
        wanted = {
            item_id: float(POOL[known.version] @ POOL[version])
            for item_id, known in self.items.items()
            if item_id not in excluded and (kind is None or known.kind == kind)
        }
        scores = sorted((s for s in wanted.values() if min_score is None or s >= min_score), reverse=True)
        # IVF-PQ chooses by codes which are re-ranked; so few are all re-ranked, and then it is exact.
        np.testing.assert_allclose(found.scores, scores[:top_k], atol=1e-5)
        assert len(set(found.ids)) == len(found.ids)
        np.testing.assert_allclose([wanted[item_id] for item_id in found.ids], found.scores, atol=1e-5)
        assert found.seq == self.seq
        assert found.vectors is not None
        for item_id, vector in zip(found.ids, found.vectors, strict=True):
            assert np.array_equal(vector, POOL[self.items[item_id].version])

    @invariant()
    def everything_is_there_once(self) -> None:
        view = self.collection.view
        assert (view.seq, view.size) == (self.seq, len(self.items))
        rows = view.living_rows()
        assert sorted(self.collection.ids(rows)) == sorted(self.items)
        metadata = self.collection.metadata(rows)
        kinds_now = dict(zip(self.collection.ids(rows), [one["kind"] for one in metadata], strict=True))
        assert kinds_now == {item_id: known.kind for item_id, known in self.items.items()}

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.await_rebuild()
            stats = self.collection.stats()
            assert (stats.items, stats.damaged) == (len(self.items), 0)
            self.data.close()
            shutil.rmtree(self.root)


CollectionMachine.TestCase.settings = settings(
    max_examples=EXAMPLES or 12,
    stateful_step_count=60 if EXAMPLES else 30,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestCollectionAgreesWithItsModel = CollectionMachine.TestCase
