"""What the integration tests share: the sample bundle and a server to run in this process."""

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.app import App
from clipsearch.event_loop import loop_factory
from clipsearch.settings import Settings

if TYPE_CHECKING:  # it needs the tracing extra, and hardly anybody here does
    from clipsearch.telemetry.tracing import Tracing

ROOT = Path(__file__).parents[2]
SAMPLE_BUNDLE = ROOT / "demo/clipsearch_demo/model/bundle"
ITEMS = 200
"""Products in the index."""


class Running:
    """An App on an event loop of its own, in this process, so that tests can look inside."""

    def __init__(self, settings: Settings, tracing: "Tracing | None" = None) -> None:
        self._settings, self._tracing = settings, tracing
        self._up: Future[App] = Future()
        self._loop = loop_factory(settings.event_loop)()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self) -> None:
        try:
            app = App(self._settings, self._tracing)
            await app.start()
        except BaseException as error:
            self._up.set_exception(error)
            raise
        self._up.set_result(app)
        await self._stop.wait()
        await app.stop()

    def __enter__(self) -> "Running":
        self._thread.start()
        self.app = self._up.result(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=60)
        self._loop.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.app.port}"
