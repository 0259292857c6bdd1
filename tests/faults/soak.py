"""Hours of ordinary traffic in little: every kind of call, writes and rebuilds, and memory that must not grow.

``python -m tests.faults.soak --minutes 30 --out benchmarks/results/faults_soak.json`` sends calls as a Poisson process
to a server of its own: searches of every kind, single, batched and streamed embeddings, bad input and cancelled calls,
upserts, deletions and reads. Each must end as it has to. The index is rebuilt twice, after a third and two thirds of
the time. The memory of the server and of its decoders is read all along; its slope is that of a line through what was
read after the warm-up. Exits with 1 where a call ended wrongly, the log warns of something or memory grows.

Resident memory is judged: it is what a container's limit counts. Beside it stands the part that is no file's
(``RssAnon``), since what SQLite and the index map is resident once it was read, and is not kept from anybody.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import psutil
from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc import aio

from benchmarks.harness.facts import environment
from benchmarks.harness.figures import slope
from benchmarks.harness.mixed import Call, Mix, Stubs
from benchmarks.harness.workload import captions
from clipsearch.index.rules import FLAT_LIMIT
from clipsearch.v1 import catalogue_pb2 as pb
from clipsearch.v1 import search_pb2

from .fuzz_seeds import pictures
from .served import DIMENSION, ROOT, Server, add_background, embedding, item_of

RATE = 40.0
"""Calls a second, about a third of what two cores can do."""

WARM_UP = 1 / 6
"""Part of the time after which memory is judged: caches and arenas are filled by then."""

MOST_MIB_PER_MINUTE = 1.0
CALL_S = 30.0
WATCHED_S = 2.0
FLAGS = ("--query-cache-mib", "1")
"""Of the server: a cache that is full before the warm-up ends, whatever the texts."""

WRITTEN = 400
"""Items that are written again and again, beside those that nobody touches."""

WRITES = {"upsert": 6, "delete": 2, "get": 3, "list": 1, "filtered search": 4, "composed search": 4}
"""Parts of the mix; the other calls are 80 together."""


@dataclass(slots=True)
class Soak:
    """What happened: calls by kind, those that ended wrongly, and MiB by second since the start."""

    calls: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)
    anonymous_mib: list[float] = field(default_factory=list)
    rebuilds: int = 0

    def watch(self, pid: int, began: float) -> None:
        """Read the memory of a server and of its decoders."""
        process = psutil.Process(pid)
        statuses = [_status(one.pid) for one in (process, *process.children(recursive=True))]
        self.seconds.append(round(time.monotonic() - began, 1))
        self.resident_mib.append(round(sum(status["VmRSS"] for status in statuses) / 1024, 2))
        self.anonymous_mib.append(round(sum(status["RssAnon"] for status in statuses) / 1024, 2))

    def growth(self, of: list[float]) -> float:
        """Return the slope after the warm-up, in MiB per minute."""
        first = next(i for i, second in enumerate(self.seconds) if second >= WARM_UP * self.seconds[-1])
        return slope([second / 60 for second in self.seconds[first:]], of[first:])


def _status(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return {name: int(kib) for name, kib in re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB$", text, re.MULTILINE)}


class Traffic:
    """An endless supply of calls, writes among them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"{seed}/soak")
        images = [data for kind, data in pictures().items() if "JPEG" in kind]
        self._images, self._version = images, 0
        self._mix = Mix(
            texts=captions(256, seed),
            pictures=images,
            items=[f"background-{n}" for n in range(100)],
            dimension=DIMENSION,
            random=self._random,
        )
        self._makers: dict[str, Callable[[], Call]] = {
            "upsert": self._upsert,
            "delete": self._delete,
            "get": self._get,
            "list": self._list,
            "filtered search": self._filtered,
            "composed search": self._composed,
        }

    def next(self) -> Call:
        """Draw a call."""
        weights = {**WRITES, "": 80}
        (kind,) = self._random.choices(tuple(weights), tuple(weights.values()))
        if not kind:
            return self._mix.next()
        call = self._makers[kind]()
        return Call(kind, call.make, call.expected)

    def _upsert(self) -> Call:
        self._version += 1
        items = [item_of(self._random.randrange(WRITTEN), self._version) for _ in range(3)]
        items = list({item.id: item for item in items}.values())
        items.append(pb.UpsertItem(id=f"text-{self._random.randrange(50)}", text=f"thing {self._version}"))
        images = pb.Images(images=[self._random.choice(self._images)])
        items.append(pb.UpsertItem(id=f"picture-{self._random.randrange(50)}", images=images))
        request = pb.UpsertItemsRequest(items=items)

        async def make(stubs: Stubs) -> object:
            answer = await stubs.catalogue.UpsertItems(request)
            refused = [result.error for result in answer.results if result.HasField("error")]
            if refused:
                raise RuntimeError(f"an item was not written: {refused[0].message}")
            return answer

        return Call("", make)

    def _delete(self) -> Call:
        request = pb.DeleteItemsRequest(ids=[f"i{self._random.randrange(WRITTEN):03}"])
        return Call("", lambda stubs: stubs.catalogue.DeleteItems(request))

    def _get(self) -> Call:
        request = pb.GetItemRequest(id=f"background-{self._random.randrange(100)}")
        return Call("", lambda stubs: stubs.catalogue.GetItem(request))

    def _list(self) -> Call:
        request = pb.ListItemsRequest(page_size=100, filter=f"item < {self._random.randrange(WRITTEN)}")
        return Call("", lambda stubs: stubs.catalogue.ListItems(request))

    def _filtered(self) -> Call:
        vector = np.random.default_rng(self._random.getrandbits(32)).standard_normal(DIMENSION).astype(np.float32)
        # Few different filters, as from a page of a shop; compiled ones are kept.
        filter_ = f"item >= {40 * self._random.randrange(10)}"
        request = search_pb2.SearchRequest(query=search_pb2.Query(vector=embedding(vector)), top_k=10, filter=filter_)
        return Call("", lambda stubs: stubs.search.Search(request))

    def _composed(self) -> Call:
        terms = [
            search_pb2.WeightedQuery(query=search_pb2.Query(text="a red dress"), weight=1.0),
            search_pb2.WeightedQuery(
                query=search_pb2.Query(item_id=f"background-{self._random.randrange(100)}"), weight=0.5
            ),
            search_pb2.WeightedQuery(query=search_pb2.Query(text=f"number {self._random.randrange(50)}"), weight=-0.3),
        ]
        request = search_pb2.SearchRequest(terms=terms, top_k=20, group_by="item")
        return Call("", lambda stubs: stubs.search.Search(request))


async def soak(server: Server, seconds: float, rate: float, seed: int) -> Soak:
    """Load a server for so long; returns what happened, wrong ends included."""
    done, traffic, chance = Soak(), Traffic(seed), random.Random(f"{seed}/arrivals")
    began = time.monotonic()
    async with aio.insecure_channel(server.address) as channel, asyncio.TaskGroup() as tasks:
        stubs = Stubs(channel)
        watching = tasks.create_task(_watch(done, server.process.pid, began))
        rebuilding = tasks.create_task(_rebuild(done, channel, stubs, seconds))
        due = began
        while due < began + seconds:
            due += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.create_task(_one(stubs, traffic.next(), done))
        await rebuilding
        watching.cancel()
    done.watch(server.process.pid, began)
    return done


async def _watch(done: Soak, pid: int, began: float) -> None:
    while True:
        done.watch(pid, began)
        await asyncio.sleep(WATCHED_S)


async def _rebuild(done: Soak, channel: aio.Channel, stubs: Stubs, seconds: float) -> None:
    operations = operations_pb2_grpc.OperationsStub(channel)
    for _ in range(2):
        await asyncio.sleep(seconds / 3)
        before = (await stubs.catalogue.GetCollectionStats(pb.GetCollectionStatsRequest())).index.sequence_number
        operation = await _begun(stubs)
        while not operation.done:
            await asyncio.sleep(0.2)
            operation = await operations.GetOperation(operations_pb2.GetOperationRequest(name=operation.name))
        after = (await stubs.catalogue.GetCollectionStats(pb.GetCollectionStatsRequest())).index.sequence_number
        if operation.HasField("error") or after <= before:
            done.wrong[f"rebuild: {operation.error.message or 'the index is the old one'}"] += 1
        done.rebuilds += 1


async def _begun(stubs: Stubs) -> operations_pb2.Operation:
    """Begin a rebuild, after one that the server began by itself."""
    while True:
        try:
            started: operations_pb2.Operation = await stubs.catalogue.RebuildIndex(pb.RebuildIndexRequest())
        except aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ABORTED:
                raise
            await asyncio.sleep(0.2)
        else:
            return started


async def _one(stubs: Stubs, call: Call, done: Soak) -> None:
    """Make one call and note where it ends otherwise than it has to."""
    done.calls[call.kind] += 1
    try:
        async with asyncio.timeout(CALL_S):
            await call.make(stubs)
        ended = "OK"
    except aio.AioRpcError as error:
        ended = error.code().name
        told = f"{ended} ({error.details()})"
    except asyncio.CancelledError:
        ended = told = "CANCELLED"
    except TimeoutError:
        ended = told = f"no answer in {CALL_S:g} s"
    except RuntimeError as error:
        ended = told = str(error)
    if ended != call.expected.name and not (call.cancelled and ended == "OK"):
        done.wrong[f"{call.kind}: {told if ended != 'OK' else 'OK'} instead of {call.expected.name}"] += 1


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=RATE, help="calls a second")
    parser.add_argument("--background", type=int, default=FLAT_LIMIT + 1000, help="vectors that nobody touches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    arguments = parser.parse_args()
    facts = environment(ROOT)
    with tempfile.TemporaryDirectory() as name, Server(Path(name) / "data", *FLAGS) as server:
        add_background(server.client, arguments.background)
        done = asyncio.run(soak(server, 60 * arguments.minutes, arguments.rate, arguments.seed))
        serving, troubles = server.client.health() == 1, server.troubles()
    growth = done.growth(done.resident_mib)
    result = {
        "fault": "soak",
        "environment": facts,
        "settings": {name: getattr(arguments, name) for name in ("minutes", "rate", "background", "seed")},
        "calls": dict(done.calls.most_common()),
        "wrong": dict(done.wrong),
        "warnings": troubles,
        "rebuilds": done.rebuilds,
        "mib_per_minute": round(growth, 3),
        "anonymous_mib_per_minute": round(done.growth(done.anonymous_mib), 3),
        "seconds": done.seconds[::15],
        "resident_mib": done.resident_mib[::15],
        "anonymous_mib": done.anonymous_mib[::15],
    }
    print(json.dumps({name: value for name, value in result.items() if name != "environment"}, indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if done.wrong or troubles or not serving or growth >= MOST_MIB_PER_MINUTE:
        sys.exit(1)


if __name__ == "__main__":
    main()
