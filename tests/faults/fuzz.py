"""Damaged pictures and messages against a real server: each gets a proper status, and the server stays as it was.

``python -m tests.faults.fuzz --pictures 20000 --messages 20000 --out benchmarks/results/fuzz.json`` sends so many of
each. A proper status is OK or one of those that say whose fault it was, with a ``google.rpc.ErrorInfo``; INTERNAL,
UNKNOWN, UNAVAILABLE, a deadline that passes (a hang) and a death are not. The server's resident memory is read all
along, and its log must hold no warning.
"""

import argparse
import asyncio
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
from google.protobuf import message as protobuf
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from benchmarks.harness.facts import environment
from clipsearch.v1 import embedding_pb2

from .fuzz_seeds import pictures, requests
from .mutations import mutate
from .served import ROOT, Server, item_of

CODES = grpc.StatusCode
PROPER = {
    CODES.INVALID_ARGUMENT,
    CODES.NOT_FOUND,
    CODES.ALREADY_EXISTS,
    CODES.FAILED_PRECONDITION,
    CODES.OUT_OF_RANGE,
    CODES.RESOURCE_EXHAUSTED,
    CODES.ABORTED,
}
HANG_S = 30.0
IN_FLIGHT = 16
OF_LIBRARIES = ("/grpc.health.v1.Health/", "/google.longrunning.Operations/")
"""Services whose errors, or some of them, come from grpc's own packages and carry no details."""


@dataclass(slots=True)
class Outcome:
    """What came back: counts by kind and status, what was not proper, and resident MiB along the way."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    improper: list[str] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)


Case = tuple[str, str, bytes]
"""What it was made of, the method, and the bytes of its request."""


def damaged_pictures(count: int, seed: int) -> Iterator[Case]:
    """Yield ``EmbedImage`` requests of damaged pictures."""
    chance, good = random.Random(f"{seed}/pictures"), pictures()
    others = list(good.values())
    for _ in range(count):
        kind = chance.choice(list(good))
        image = mutate(chance, good[kind], others)
        request = embedding_pb2.EmbedImageRequest(image=image).SerializeToString()
        yield kind, "/clipsearch.v1.EmbeddingService/EmbedImage", request


def damaged_messages(count: int, seed: int) -> Iterator[Case]:
    """Yield damaged requests of every method."""
    chance = random.Random(f"{seed}/messages")
    good = {method: [one.SerializeToString() for one in many] for method, many in requests().items()}
    others = [data for many in good.values() for data in many]
    for _ in range(count):
        method = chance.choice(list(good))
        yield method.rsplit("/", 1)[1], method, mutate(chance, chance.choice(good[method]), others)


async def send(address: str, cases: Iterator[Case], watch: Callable[[], float]) -> Outcome:
    """Send all cases, some at once; ``watch`` tells the server's resident MiB."""
    outcome = Outcome()
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0)]
    async with aio.insecure_channel(address, options=options) as channel:
        await asyncio.gather(*(_worker(channel, cases, outcome, watch) for _ in range(IN_FLIGHT)))
    outcome.resident_mib.append(watch())
    return outcome


async def _worker(channel: aio.Channel, cases: Iterator[Case], outcome: Outcome, watch: Callable[[], float]) -> None:
    for kind, method, data in cases:
        try:
            await channel.unary_unary(method)(data, timeout=HANG_S)
            outcome.statuses[f"{kind}: OK"] += 1
        except aio.AioRpcError as error:
            outcome.statuses[f"{kind}: {error.code().name}"] += 1
            reason = _reason(error)
            outcome.reasons[reason or "none"] += 1
            if error.code() not in PROPER or (not reason and not method.startswith(OF_LIBRARIES)):
                outcome.improper.append(f"{method} {error.code().name} {error.details()}: {data[:400].hex()}")
        if sum(outcome.statuses.values()) % 500 == 1:
            outcome.resident_mib.append(watch())


def _reason(error: aio.AioRpcError) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = error_details_pb2.ErrorInfo()
            try:
                status_pb2.Status.FromString(value).details[0].Unpack(info)
            except (protobuf.DecodeError, IndexError):
                return ""
            return info.reason
    return ""


def run(server: Server, cases: Iterator[Case]) -> Outcome:
    """Send the cases, and find the server alive, serving and without a warning afterwards."""
    process = psutil.Process(server.process.pid)
    outcome = asyncio.run(send(server.address, cases, lambda: process.memory_info().rss / 2**20))
    assert server.process.poll() is None, "\n".join(server.log[-20:])
    assert server.client.health() == 1
    return outcome


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/fuzz.json")
    arguments = parser.parse_args()
    result: dict[str, object] = {"environment": environment(ROOT), "seed": arguments.seed}
    with tempfile.TemporaryDirectory() as directory, Server(Path(directory) / "data") as server:
        server.client.upsert([item_of(item, 0) for item in range(200)])
        for name, count, make in (
            ("pictures", arguments.pictures, damaged_pictures),
            ("messages", arguments.messages, damaged_messages),
        ):
            outcome = run(server, make(count, arguments.seed))
            result[name] = {
                "sent": count,
                "improper": outcome.improper,
                "statuses": dict(sorted(outcome.statuses.items())),
                "reasons": dict(outcome.reasons.most_common()),
                "resident_mib": [round(one, 1) for one in outcome.resident_mib],
            }
            print(f"{name}: {count:,} sent, {len(outcome.improper)} without a proper status")
        result["warnings"] = server.troubles()
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
