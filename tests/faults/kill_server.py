"""Kills a serving process again and again, and checks over gRPC that what it acknowledged, and nothing half, is there.

``python -m tests.faults.kill_server --rounds 200`` does so; every round goes on with the data that the last one left.
Clients, each with items of its own, upsert and delete with request ids and note what is acknowledged; one of them has
the index rebuilt now and then. The server is killed after a random number of acknowledgements, or upon a rebuild.
"""

import argparse
import random
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from clipsearch.v1 import catalogue_pb2 as pb

from .served import Client, Server, item_of, vector_of

CLIENTS = 3
ITEMS = 30
"""Items of each client."""


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
    """Kills the server at the n-th acknowledgement, or at the n-th rebuild."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._rebuilds = chance.random() < 0.5
        self._left = chance.randrange(1, 6) if self._rebuilds else chance.randrange(5, 120)

    def saw(self, *, rebuild: bool) -> None:
        with self._lock:
            self._left -= rebuild == self._rebuilds
            if self._left == 0:
                self._server.process.kill()


def write(writer: Writer, server: Server, killer: Killer, name: str) -> None:
    """Be a client until the server dies."""
    chance = random.Random(f"{name}/{writer.number}")
    for n in range(100_000):
        request = writer.unknown = writer.next_request(chance, f"{name}/{writer.number}/{n}")
        try:
            seq = request.send(server.client)
            writer.items, writer.last, writer.unknown = writer.after(request), (request, seq), None
            killer.saw(rebuild=False)
            if n % 10 == 9 and writer.number == 0 and rebuild(server.client):
                killer.saw(rebuild=True)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
            return
    raise AssertionError("the server was never killed")


def rebuild(client: Client) -> bool:
    """Have the index rebuilt; returns whether that was begun."""
    try:
        client.catalogue.RebuildIndex(pb.RebuildIndexRequest(), timeout=30)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ABORTED:  # one is running
            raise
        return False
    return True


def check(client: Client, writers: list[Writer]) -> None:
    """Compare a server with what its clients know; then they repeat what they do not know of."""
    assert client.health() == health_pb2.HealthCheckResponse.SERVING
    listed = {int(one["item"]): int(one["version"]) for one in client.listed().values()}  # type: ignore[call-overload]
    for writer in writers:
        mine = {item: version for item, version in listed.items() if item // ITEMS == writer.number}
        possible = [writer.items, *([writer.after(writer.unknown)] if writer.unknown is not None else [])]
        assert mine in possible, f"client {writer.number}: {mine} is none of {possible}"
    for item, version in listed.items():
        (hit,) = client.search(vector_of(item, version), 1).hits
        assert (hit.id, dict(hit.metadata)["version"]) == (f"i{item:03}", version)
    for writer in writers:
        if writer.last is not None:
            request, seq = writer.last
            assert request.send(client) == seq, "a request that was answered was not answered the same again"
        if writer.unknown is not None:
            writer.items, writer.last = writer.after(writer.unknown), (writer.unknown, writer.unknown.send(client))
            writer.unknown = None
    known = {item: version for writer in writers for item, version in writer.items.items()}
    assert {one["item"]: one["version"] for one in client.listed().values()} == known
    stats = client.stats()
    assert (stats.items, stats.damaged_rows) == (len(known), 0)


def run_rounds(data: Path, seed: int, rounds: int) -> list[Writer]:
    """Kill a server ``rounds`` times on one directory; returns what its clients know in the end."""
    writers = [Writer(number) for number in range(CLIENTS)]
    for turn in range(rounds + 1):
        with Server(data) as server:
            check(server.client, writers)
            if turn == rounds:
                break
            killer = Killer(server, random.Random(f"{seed}/{turn}"))
            name = f"{seed}/{turn}"
            threads = [threading.Thread(target=write, args=(writer, server, killer, name)) for writer in writers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    return writers


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        writers = run_rounds(Path(name) / "data", arguments.seed, arguments.rounds)
    print(f"{arguments.rounds} rounds: every acknowledged write is there and found, none half.")
    print(f"{sum(len(writer.items) for writer in writers)} items in the end")


if __name__ == "__main__":
    main()
