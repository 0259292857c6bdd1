"""Searches, writes and rebuilds at once on a real server: none may fail, and every answer must be of one state.

``python -m tests.faults.concurrent_load --seconds 240 --out benchmarks/results/concurrent_load.json`` does so with an
IVF-PQ index. Writers, each with items of its own, insert, update and delete several at once, and note the sequence
number of every mutation; so what the catalogue held at each number is known afterwards. Searchers keep the sequence
number of every answer and the versions of all items in it, and in the end each answer is compared with the state that
it says it is of: an item too much, too little, or of another version would show. A rebuild follows the other.
"""

import argparse
import json
import random
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.harness.facts import environment
from benchmarks.harness.figures import percentile
from clipsearch.index.rules import FLAT_LIMIT
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import search_pb2
from clipsearch.v1.search_pb2_grpc import SearchServiceStub

from .history import History, Seen, check
from .served import ROOT, Client, Server, add_background, embedding, item_of, vector_of

WRITERS = 3
ITEMS = 16
"""Items of each writer."""

HOT = "item >= 0"
"""The filter that lets through what is written, and no background."""

LEAST = 5
"""So often everything is done at least, however short the run."""


@dataclass(slots=True)
class Run:
    """What is shared by the threads: histories, answers and times, and when to end."""

    address: str
    seed: int
    histories: list[History] = field(default_factory=lambda: [History() for _ in range(WRITERS)])
    seen: list[Seen] = field(default_factory=list)
    times_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[BaseException] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    ran_s: float = 0.0

    def timed(self, kind: str, call: Callable[[], Any]) -> Any:
        """Return what a call does, and keep how long it took."""
        began = time.monotonic()
        answer = call()
        self.times_s[kind].append(time.monotonic() - began)
        return answer

    def repeat(self, step: Callable[[Client], None]) -> None:
        """Be a thread: repeat a step until the run is over or somebody failed."""
        try:
            with grpc.insecure_channel(self.address) as channel:
                while not self.over.is_set():
                    step(Client(channel))
        except BaseException as error:  # noqa: BLE001  # told to the thread that waits
            self.failures.append(error)
            self.over.set()


class Writer:
    """Writes items of its own, several in one mutation."""

    def __init__(self, run: Run, number: int) -> None:
        self._run, self._history = run, run.histories[number]
        self._chance = random.Random(f"{run.seed}/writer {number}")
        self._mine = range(number * ITEMS, (number + 1) * ITEMS)
        self._version = 0

    def step(self, client: Client) -> None:
        """Insert, update or delete some, and find at once exactly what is left."""
        state = dict(self._history.now)
        some = self._chance.sample(self._mine, self._chance.randint(1, ITEMS))
        # The first item of all is asked for by its id, so it stays.
        doomed = [item for item in some if item in state and item != 0]
        if doomed and self._chance.random() < 0.3:
            request = pb.DeleteItemsRequest(ids=[f"i{item:03}" for item in doomed])
            answer = self._run.timed("delete", lambda: client.catalogue.DeleteItems(request, timeout=60))
            state = {item: version for item, version in state.items() if item not in doomed}
        else:
            self._version += 1
            items = [item_of(item, self._version) for item in some]
            answer = self._run.timed("upsert", lambda: client.upsert(items))
            assert all(result.HasField("outcome") for result in answer.results), answer
            state |= dict.fromkeys(some, self._version)
        self._history.note(answer.sequence_number, state)
        self._read_back(client, answer.sequence_number)

    def _read_back(self, client: Client, seq: int) -> None:
        first, last = self._mine[0], self._mine[-1]
        request = request_of(vector_of(first, 0), filter=f"item >= {first} AND item <= {last}", min_sequence_number=seq)
        response = self._run.timed("read back", lambda: searches(client).Search(request, timeout=60))
        assert versions(response) == self._history.now, f"after {seq}: {versions(response)}"


class Searcher:
    """Searches in one way; what it sees is compared in the end."""

    def __init__(self, run: Run, kind: str) -> None:
        self._run, self.kind = run, kind
        self._chance = random.Random(f"{run.seed}/{kind}")

    def step(self, client: Client) -> None:
        """Search once, or for several things in one call."""
        item = self._chance.randrange(WRITERS * ITEMS)
        vector = vector_of(item, self._chance.randrange(32))
        excluded = frozenset(self._chance.sample(range(WRITERS * ITEMS), 5))
        if self.kind == "by vector":
            response = self._answer(client, request_of(vector, top_k=10))
            nearest = item_in(response.hits[0])
            self._keep(Seen(self.kind, response.sequence_number, versions(response), first=item, nearest=nearest))
        elif self.kind == "batch":
            batch = search_pb2.BatchSearchRequest(requests=[request_of(vector, filter=HOT) for _ in range(4)])
            found = self._run.timed(self.kind, lambda: searches(client).BatchSearch(batch, timeout=60))
            for result in found.results:
                assert result.HasField("response"), result
                self._keep_whole(result.response)
        else:
            request = {
                "filtered": lambda: request_of(vector, filter=HOT),
                "by text": lambda: request_of(search_pb2.Query(text="a red dress"), filter=HOT),
                "by item": lambda: request_of(search_pb2.Query(item_id="i000"), filter=HOT),
                "excluding": lambda: request_of(vector, filter=HOT, exclude_ids=[f"i{one:03}" for one in excluded]),
                "grouped": lambda: request_of(vector, filter=HOT, group_by="item"),
            }[self.kind]()
            response = self._answer(client, request)
            self._keep_whole(response, excluded if self.kind == "excluding" else frozenset())

    def _answer(self, client: Client, request: search_pb2.SearchRequest) -> search_pb2.SearchResponse:
        response: search_pb2.SearchResponse = self._run.timed(
            self.kind, lambda: searches(client).Search(request, timeout=60)
        )
        return response

    def _keep_whole(self, response: search_pb2.SearchResponse, without: frozenset[int] = frozenset()) -> None:
        self._keep(Seen(self.kind, response.sequence_number, versions(response), whole=True, without=without))

    def _keep(self, seen: Seen) -> None:
        self._run.seen.append(seen)


KINDS = ("by vector", "batch", "filtered", "by text", "by item", "excluding", "grouped")


def searches(client: Client) -> SearchServiceStub:
    """Return the search calls of a client."""
    return SearchServiceStub(client.channel)


def request_of(query: "np.ndarray | search_pb2.Query", **fields: Any) -> search_pb2.SearchRequest:
    """Return a search for all that is written, with everything that hits can tell."""
    fields.setdefault("top_k", WRITERS * ITEMS + 1)
    query = query if isinstance(query, search_pb2.Query) else search_pb2.Query(vector=embedding(query))
    return search_pb2.SearchRequest(query=query, view=search_pb2.VIEW_FULL, **fields)


def item_in(hit: search_pb2.Hit) -> int | None:
    """Return which item a hit is, None for background."""
    return int(hit.id.removeprefix("i")) if hit.id.startswith("i") else None


def versions(response: search_pb2.SearchResponse) -> dict[int, int]:
    """Return the versions of the items among the hits; raises AssertionError where a hit contradicts itself."""
    found: dict[int, int] = {}
    for hit in response.hits:
        item = item_in(hit)
        if item is None:
            continue
        assert item not in found, f"i{item:03} was found twice"
        metadata = dict(hit.metadata)
        found[item] = int(metadata["version"])  # type: ignore[arg-type]
        vector = np.array(hit.embedding.float32.values)
        expected = (item % 96, found[item] % 32)
        assert (int(metadata["item"]), int(vector[96:].argmax())) == (item, expected[1])  # type: ignore[arg-type]
        assert int(vector[:96].argmax()) == expected[0]
    return found


def run_load(server: Server, seed: int, seconds: float) -> Run:
    """Load a server for so long; raises AssertionError where a call failed or an answer is of no state."""
    run = Run(server.address, seed)
    writers = [Writer(run, number) for number in range(WRITERS)]
    for writer in writers:  # so that the first item is there to be asked for
        while not run.histories[0].now.get(0):
            writers[0].step(server.client)
        writer.step(server.client)
    steps: list[Callable[[Client], None]] = [writer.step for writer in writers]
    steps += [Searcher(run, kind).step for kind in KINDS]
    steps.append(lambda client: run.timed("rebuild", client.rebuilt))
    threads = [threading.Thread(target=run.repeat, args=(step,)) for step in steps]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while not run.over.wait(0.2):
        done = min(len(run.times_s[kind]) for kind in ("upsert", "delete", "rebuild", *KINDS))
        if time.monotonic() - began >= seconds and done >= LEAST:
            run.over.set()
    for thread in threads:
        thread.join()
    run.ran_s = time.monotonic() - began
    if run.failures:
        raise AssertionError(f"{len(run.failures)} of {len(threads)} clients failed") from run.failures[0]
    return run


def summary(run: Run) -> dict[str, object]:
    """Compare all that was seen with the histories; returns counts, times, and how often the nearest was found."""
    nearest = [check(seen, run.histories) for seen in run.seen]
    told = [found for seen, found in zip(run.seen, nearest, strict=True) if seen.first is not None]
    return {
        "ran_s": round(run.ran_s, 1),
        "answers_compared": len(run.seen),
        "answers_of_another_state": 0,
        "failed_calls": 0,
        "nearest_found": round(sum(told) / len(told), 6),
        "last_sequence_number": max(seen.seq for seen in run.seen),
        "calls": {kind: len(times) for kind, times in run.times_s.items()},
        "milliseconds": {
            kind: {name: round(percentile(times, share) * 1e3, 1) for name, share in (("p50", 0.5), ("p99", 0.99))}
            | {"max": round(max(times) * 1e3, 1)}
            for kind, times in run.times_s.items()
        },
    }


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--background", type=int, default=FLAT_LIMIT + 1000, help="vectors that nobody touches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    arguments = parser.parse_args()
    facts = environment(ROOT)
    with tempfile.TemporaryDirectory() as name, Server(Path(name) / "data") as server:
        add_background(server.client, arguments.background)
        run = run_load(server, arguments.seed, arguments.seconds)
        index = server.client.stats().index
        troubles = server.troubles()
    assert not troubles, troubles
    settings = {"seconds": arguments.seconds, "background": arguments.background, "seed": arguments.seed}
    shape = {"kind": index.kind, "size": index.size}
    result = {"fault": "concurrent_load", "environment": facts, "settings": settings, "index": shape, **summary(run)}
    print(json.dumps(result, indent=2))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
