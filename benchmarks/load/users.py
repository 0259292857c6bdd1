"""Locust's users: callers of one kind each, and one of a mix. They call by gRPC on gevent, in an open or a closed loop.

In an open loop a user is a source of arrivals: each call gets a greenlet of its own when it is due, whatever became of
those before. So a number of users is an offered rate, and Locust's shapes, which change that number, change the load.
"""

import logging
import time
from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar

import gevent
import grpc
import grpc.experimental.gevent
from gevent.pool import Group
from locust import User, events, task
from locust.runners import MasterRunner, WorkerRunner

from benchmarks.load.arrivals import due_times
from benchmarks.load.calls import Calls, ItemFailed, outcome_of
from benchmarks.load.measuring import BOUND_STATUS, Measuring
from benchmarks.load.options import Options, add_to, options_of
from benchmarks.load.recorder import UNSENT
from benchmarks.load.work import Work

logger = logging.getLogger(__name__)

events.init_command_line_parser.add_listener(add_to)


@events.init.add_listener
def _(environment: Any, **_: Any) -> None:
    """After Locust has forked its workers: gRPC must not have begun before."""
    grpc.experimental.gevent.init_gevent()
    measuring = environment.measuring = Measuring(options_of(environment.parsed_options))
    alone = not isinstance(environment.runner, MasterRunner | WorkerRunner)
    environment.events.test_start.add_listener(measuring.begin)
    environment.events.report_to_master.add_listener(measuring.report)
    environment.events.worker_report.add_listener(measuring.take)

    def quitting(**_: Any) -> None:
        if isinstance(environment.runner, WorkerRunner):
            return
        bound = measuring.finish(alone)
        for sign in bound:
            logger.error("the generator was the bottleneck: %s", sign)
        if bound:
            environment.process_exit_code = BOUND_STATUS

    environment.events.quitting.add_listener(quitting)


class ClipsearchUser(User):
    """Calls of the kinds that its class names, by their parts."""

    abstract = True
    kinds: ClassVar[Mapping[str, float]]
    _made: ClassVar[int] = 0

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.options: Options = environment.measuring.options
        self.recorder = environment.measuring.own
        ClipsearchUser._made += 1
        number = getattr(environment.runner, "worker_index", 0) * 1_000_003 + ClipsearchUser._made
        seed = self.options.seed * 7_919 + number
        self.random = Random(f"{seed}/arrivals")
        address = (environment.host or "127.0.0.1:50051").removeprefix("http://").rstrip("/")
        # A connection of its own, as a caller has.
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.calls = Calls(self.channel, Work(self.options.sizes, seed), self.options.deadline_s)
        self.in_flight = Group()

    @task
    def call(self) -> None:
        """Make one call in a closed loop; in an open one, be the source of calls until the user is stopped."""
        if self.options.arrivals == "closed":
            self._one(self._kind(), time.monotonic())
            return
        for due in due_times(self.options.arrivals, self.options.rate, time.monotonic(), self.random):
            gevent.sleep(max(0.0, due - time.monotonic()))
            kind = self._kind()
            if len(self.in_flight) < self.options.in_flight:
                self.in_flight.spawn(self._one, kind, due)
            else:
                self._failed(kind, due, UNSENT, "")

    def on_stop(self) -> None:
        """Wait for what is under way; a call ends at its deadline at the latest."""
        self.in_flight.join()
        self.channel.close()

    def _kind(self) -> str:
        kinds = self.kinds or self.options.mix
        (kind,) = self.random.choices(tuple(kinds), tuple(kinds.values()))
        return kind

    def _one(self, kind: str, due: float) -> None:
        self.recorder.sent(due, time.monotonic())
        try:
            answer = self.calls.by_kind[kind]()
        except (grpc.RpcError, ItemFailed) as error:
            self._failed(kind, due, *outcome_of(error))
            return
        ended = time.monotonic()
        self.recorder.ok(kind, due, ended, answer.stages, answer.items)
        self._tell(kind, ended - due, None)

    def _failed(self, kind: str, due: float, status: str, reason: str) -> None:
        self.recorder.failed(kind, due, status, reason)
        self._tell(kind, time.monotonic() - due, RuntimeError(f"{status} {reason}".rstrip()))

    def _tell(self, kind: str, seconds: float, error: Exception | None) -> None:
        """Let Locust's own page see it."""
        self.environment.events.request.fire(
            request_type="gRPC", name=kind, response_time=1e3 * seconds, response_length=0, exception=error, context={}
        )


class TextSearchUser(ClipsearchUser):
    """Searches by text."""

    kinds: ClassVar[Mapping[str, float]] = {"text search": 1.0}


class ImageSearchUser(ClipsearchUser):
    """Searches by picture."""

    kinds: ClassVar[Mapping[str, float]] = {"image search": 1.0}


class ComposedSearchUser(ClipsearchUser):
    """Searches by text and picture together, away from another text."""

    kinds: ClassVar[Mapping[str, float]] = {"composed search": 1.0}


class FilteredSearchUser(ClipsearchUser):
    """Searches by text among what a filter lets through."""

    kinds: ClassVar[Mapping[str, float]] = {"filtered search": 1.0}


class BatchEmbedUser(ClipsearchUser):
    """Embeds batches of texts and pictures."""

    kinds: ClassVar[Mapping[str, float]] = {"batch embed": 1.0}


class StreamEmbedUser(ClipsearchUser):
    """Embeds streams of texts and pictures."""

    kinds: ClassVar[Mapping[str, float]] = {"stream embed": 1.0}


class UpsertUser(ClipsearchUser):
    """Writes ready vectors."""

    kinds: ClassVar[Mapping[str, float]] = {"upsert": 1.0}


class MixUser(ClipsearchUser):
    """All of it, as ``--mix`` says."""

    kinds: ClassVar[Mapping[str, float]] = {}
