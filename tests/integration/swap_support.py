"""What the tests of other models share: a server with bundles to choose from, and callers that never pause."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clipsearch.client import Client
from clipsearch.settings import Settings
from tests.integration.bundles import Bundles
from tests.integration.support import Running

LIMIT_S = 60.0


@contextmanager
def serving(bundles: Bundles, data: Path | None = None, **more: object) -> Iterator[tuple[Running, Client]]:
    settings = Settings(
        bundle=bundles.fp32, bundles=bundles.directory, data=data, listen="127.0.0.1:0", device="cpu", **more
    )  # type: ignore[arg-type]
    with Running(settings) as running, Client(running.address, timeout=LIMIT_S) as client:
        yield running, client


class Callers:
    """Threads that make one call after another until the end, and what came of it."""

    def __init__(self, *calls: Callable[[], None]) -> None:
        self.failures: list[BaseException] = []
        self._made = [0] * len(calls)
        self._over = threading.Event()
        self._progress = threading.Condition()
        self._threads = [threading.Thread(target=self._run, args=(i, call)) for i, call in enumerate(calls)]

    def _run(self, number: int, call: Callable[[], None]) -> None:
        while not self._over.is_set():
            try:
                call()
            except BaseException as error:  # noqa: BLE001  whatever it is, the test is told
                self.failures.append(error)
                self._over.set()
            with self._progress:
                self._made[number] += 1
                self._progress.notify_all()

    def let_each_make(self, more: int) -> None:
        """Return when every caller has made so many more calls, or one has failed."""
        with self._progress:
            goals = [made + more for made in self._made]
            assert self._progress.wait_for(
                lambda: bool(self.failures) or all(made >= goal for made, goal in zip(self._made, goals, strict=True)),
                LIMIT_S,
            )

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(LIMIT_S)
        if self.failures:
            raise self.failures[0]
