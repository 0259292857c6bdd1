"""Kills a serving process again and again, and checks over gRPC that what it acknowledged, and nothing half, is there.

``python -m tests.faults.kill_server --out benchmarks/results/faults_kill_server.json`` does so; a round goes on with
what the last one left. Clients, each with items of its own, upsert and delete with request ids, note what is
acknowledged and look whether it is found at once; one of them has the index rebuilt now and then. The server is killed
upon a random acknowledgement or rebuild, or a random moment after it. So it goes with a few items, whose index is flat,
and then with a background of vectors that nobody touches, enough for an IVF-PQ index.
"""

import argparse
import json
import random
import tempfile
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from benchmarks.harness.facts import environment
from clipsearch.index.rules import FLAT_LIMIT
from clipsearch.v1 import catalogue_pb2 as pb

from .served import ROOT, Client, Server, add_background, item_of, vector_of

CLIENTS = 3
ITEMS = 30
"""Items of each client."""

_LONGEST_S = 0.3
"""The latest random moment after an acknowledgement or the start of a rebuild."""


@dataclass(slots=True)
class Report:
    """What was done: kills by what they followed, what had been acknowledged, and how much was compared."""

    seed: int
    background: int
    rounds: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    acknowledged_requests: int = 0
    acknowledged_items: int = 0
    found_at_once: int = 0
    """Searches right after an acknowledgement, for something that it was about."""
    rebuilds_begun: int = 0
    stored_unacknowledged: int = 0
    """Batches that were stored, as a whole, though the server died before it could say so."""
    restarts_without_a_warning: int = 0
    items_searched: int = 0
    whole_searches: int = 0
    requests_retried: int = 0


@dataclass
class Request:
    """A batch of one client: the version that each item gets, None to delete it."""

    request_id: str
    versions: dict[int, int] | None
    deleted: list[int]

    def send(self, client: Client) -> int:
        """Returns the sequence number of the answer."""
        if self.versions is not None:
            items = [item_of(item, version) for item, version in self.versions.items()]
            response = client.upsert(items, self.request_id)
            assert all(result.HasField("outcome") for result in response.results)
            return int(response.sequence_number)
        ids = [f"i{item:03}" for item in self.deleted]
        request = pb.DeleteItemsRequest(ids=ids, request_id=self.request_id)
        return int(client.catalogue.DeleteItems(request, timeout=30).sequence_number)


@dataclass
class Writer:
    """What one client knows: the items that were acknowledged, the last answer, and what it does not know of."""

    number: int
    items: dict[int, int] = field(default_factory=dict)
    last: tuple[Request, int] | None = None
    unknown: Request | None = None
    acknowledged: int = 0
    acknowledged_items: int = 0
    found_at_once: int = 0
    rebuilds: int = 0

    def acknowledge(self, request: Request, seq: int) -> None:
        self.items, self.last, self.unknown = self.after(request), (request, seq), None
        self.acknowledged += 1
        self.acknowledged_items += len(request.versions or request.deleted)

    def next_request(self, chance: random.Random, name: str) -> Request:
        mine = range(self.number * ITEMS, (self.number + 1) * ITEMS)
        chosen = chance.sample(mine, chance.randrange(1, 9))
        if chance.random() < 0.3:
            return Request(name, None, chosen)
        return Request(name, {item: chance.randrange(32) for item in chosen}, [])

    def after(self, request: Request) -> dict[int, int]:
        items = {item: version for item, version in self.items.items() if item not in request.deleted}
        return items | (request.versions or {})


class Killer:
    """Kills the server at the n-th acknowledgement or at the n-th rebuild, or at a random moment after that."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._rebuilds = chance.random() < 0.5
        self._left = chance.randrange(1, 6) if self._rebuilds else chance.randrange(5, 120)
        delay_s = chance.choice([0.0, chance.uniform(0.0, _LONGEST_S)])
        self._timer = threading.Timer(delay_s, server.process.kill)
        self.how = ("a rebuild" if self._rebuilds else "an acknowledgement") + (", later" if delay_s else "")

    def saw(self, *, rebuild: bool) -> None:
        if rebuild != self._rebuilds:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._timer.start()


def write(writer: Writer, server: Server, killer: Killer, name: str) -> None:
    """Be a client until the server dies."""
    chance = random.Random(f"{name}/{writer.number}")
    for n in range(100_000):
        request = writer.unknown = writer.next_request(chance, f"{name}/{writer.number}/{n}")
        try:
            seq = request.send(server.client)
            writer.acknowledge(request, seq)
            killer.saw(rebuild=False)
            check_at_once(server.client, request, seq)
            writer.found_at_once += 1
            if n % 10 == 9 and writer.number == 0 and rebuild(server.client):
                writer.rebuilds += 1
                killer.saw(rebuild=True)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
            return
    raise AssertionError("the server was never killed")


def check_at_once(client: Client, request: Request, seq: int) -> None:
    """What was acknowledged is found by the next search, and what was deleted is not."""
    for item, version in list((request.versions or {}).items())[:1]:
        response = client.search(vector_of(item, version), 1)
        assert response.sequence_number >= seq
        assert [(hit.id, dict(hit.metadata)["version"]) for hit in response.hits] == [(f"i{item:03}", version)]
    for item in request.deleted[:1]:
        response = client.search(vector_of(item, 0), 5)
        assert f"i{item:03}" not in [hit.id for hit in response.hits]


def rebuild(client: Client) -> bool:
    """Have the index rebuilt; returns whether that was begun."""
    try:
        client.catalogue.RebuildIndex(pb.RebuildIndexRequest(), timeout=30)
    except grpc.RpcError as error:
        refusal = error.code()
        # One is running, or everything is deleted just now.
        if refusal not in (grpc.StatusCode.ABORTED, grpc.StatusCode.INVALID_ARGUMENT):
            raise
        return False
    return True


def check(client: Client, writers: list[Writer], report: Report) -> None:
    """Compare a server with what its clients know; then they repeat what they do not know of."""
    assert client.health() == health_pb2.HealthCheckResponse.SERVING
    listed = stored_versions(client)
    for writer in writers:
        mine = {item: version for item, version in listed.items() if item // ITEMS == writer.number}
        if writer.unknown is not None and mine != writer.items:
            report.stored_unacknowledged += 1
            assert mine == writer.after(writer.unknown), f"client {writer.number}: {mine}, {writer}"
        else:
            assert mine == writer.items, f"client {writer.number}: {mine} is not {writer.items}"
    check_searches(client, listed, report)
    for writer in writers:
        if writer.last is not None:
            request, seq = writer.last
            assert request.send(client) == seq, "a request that was answered was not answered the same again"
            report.requests_retried += 1
        if writer.unknown is not None:
            writer.items, writer.last = writer.after(writer.unknown), (writer.unknown, writer.unknown.send(client))
            writer.unknown = None
            report.requests_retried += 1
    known = {item: version for writer in writers for item, version in writer.items.items()}
    assert stored_versions(client) == known
    check_searches(client, known, report)
    stats = client.stats()
    assert (stats.items, stats.damaged_rows) == (len(known) + report.background, 0)


def stored_versions(client: Client) -> dict[int, int]:
    """The version of every item, of those that are not background."""
    return {int(one["item"]): int(one["version"]) for one in client.listed("item >= 0").values()}  # type: ignore[call-overload]


def check_searches(client: Client, known: dict[int, int], report: Report) -> None:
    """Find every item by its own vector, and all of them and no other by a filter: nothing deleted, nothing older."""
    for item, version in known.items():
        (hit,) = client.search(vector_of(item, version), 1).hits
        assert (hit.id, dict(hit.metadata)["version"]) == (f"i{item:03}", version)
        assert abs(hit.score - 1.0) < 2e-3, hit
    response = client.search(vector_of(0, 0), CLIENTS * ITEMS + 1, "item >= 0")
    found = sorted((hit.id, int(dict(hit.metadata)["version"])) for hit in response.hits)  # type: ignore[arg-type]
    assert found == sorted((f"i{item:03}", version) for item, version in known.items())
    report.items_searched += len(known)
    report.whole_searches += 1


def run_rounds(data: Path, seed: int, rounds: int, background: int = 0) -> Report:
    """Kill a server ``rounds`` times on one directory; raises AssertionError at the first thing that is not right."""
    report = Report(seed, background)
    writers = [Writer(number) for number in range(CLIENTS)]
    for turn in range(rounds + 1):
        with Server(data) as server:
            if turn == 0 and background:
                add_background(server.client, background)
            check(server.client, writers, report)
            assert not server.troubles(), server.troubles()
            report.restarts_without_a_warning += turn > 0
            if turn == rounds:
                break
            killer = Killer(server, random.Random(f"{seed}/{turn}"))
            kill_under_load(server, killer, writers, f"{seed}/{turn}")
            report.kills[killer.how] = report.kills.get(killer.how, 0) + 1
            report.rounds += 1
    report.acknowledged_requests = sum(writer.acknowledged for writer in writers)
    report.acknowledged_items = sum(writer.acknowledged_items for writer in writers)
    report.found_at_once = sum(writer.found_at_once for writer in writers)
    report.rebuilds_begun = sum(writer.rebuilds for writer in writers)
    return report


def kill_under_load(server: Server, killer: Killer, writers: list[Writer], name: str) -> None:
    """Run the clients until the server was killed; raises what went wrong in one of them."""
    failures: list[BaseException] = []

    def work(writer: Writer) -> None:
        try:
            write(writer, server, killer, name)
        except BaseException as error:  # noqa: BLE001  # told to the thread that waits
            failures.append(error)
            server.process.kill()  # or the others would go on

    threads = [threading.Thread(target=work, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise AssertionError(f"{name}: a client failed") from failures[0]


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--ivfpq-rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    arguments = parser.parse_args()
    facts, reports = environment(ROOT), {}
    for kind, rounds, background in [
        ("flat", arguments.rounds, 0),
        ("ivfpq", arguments.ivfpq_rounds, FLAT_LIMIT + 1000),
    ]:
        with tempfile.TemporaryDirectory() as name:
            reports[kind] = report = run_rounds(Path(name) / "data", arguments.seed, rounds, background)
        print(
            f"{kind}: {report.rounds} kills, {report.acknowledged_items} acknowledged items: all are there and found."
        )
    if arguments.out is not None:
        result = {"fault": "kill_server", "environment": facts, **{kind: asdict(one) for kind, one in reports.items()}}
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
