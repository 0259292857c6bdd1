"""What of all this a server has, by its settings: observers for those who are observed, and an endpoint.

Nothing that is off leaves anything behind: no observer is called, no module imported.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from clipsearch.batching.lane import Observer
from clipsearch.batching.policy import BatchPolicy
from clipsearch.errors import ClipsearchError, ConfigError
from clipsearch.settings import Settings
from clipsearch.telemetry.collector import Meters, ServerCollector, Sources
from clipsearch.telemetry.endpoint import MetricsEndpoint
from clipsearch.telemetry.logs import access_log
from clipsearch.telemetry.loop_lag import LoopLag
from clipsearch.telemetry.meters import LaneMeter, PreprocessMeter, RequestMeter, Stage

if TYPE_CHECKING:
    from clipsearch.telemetry.tracing import Tracing

FLUSH_S = 2.0
"""What sending the last spans may add to a shutdown."""


class Telemetry:
    """One server's: made before its parts, started when they are there."""

    def __init__(self, settings: Settings, tracing: "Tracing | None" = None) -> None:
        """``tracing`` instead of the settings' own; raises ConfigError where that is wanted but not installed."""
        self._listen = settings.metrics_listen
        self.tracing = tracing or (_tracing(settings.traces_to) if settings.traces_to else None)
        self._requests, self._preprocess = RequestMeter(), PreprocessMeter()
        self._lanes: dict[str, LaneMeter] = {}
        self._loop_lag = LoopLag()
        self._endpoint: MetricsEndpoint | None = None
        self.requests: list[Callable[[str, str, str, float], None]] = [access_log] if settings.access_log else []
        self.preprocess: list[Callable[[str, float, float, ClipsearchError | None], None]] = []
        if self._listen is not None:
            self.requests.append(self._requests)
            self.preprocess.append(self._preprocess)
        if self.tracing is not None:
            self.requests.append(self.tracing.request)
            self.preprocess.append(self.tracing.preprocessed)

    def lane(
        self, name: str, policy: BatchPolicy, stage: Stage, searched_s: Callable[[Any], float] | None = None
    ) -> Sequence[Observer[Any, Any]]:
        """Return the observers of a lane; for the parameters see ``meters.LaneMeter``."""
        observers: list[Observer[Any, Any]] = []
        if self._listen is not None:
            meter = self._lanes[name] = LaneMeter(policy, stage, searched_s)
            observers.append(meter)
        if self.tracing is not None:
            observers.append(self.tracing.batches(name, stage, searched_s))
        return observers

    def start(self, sources: Sources) -> int:
        """Open the endpoint, on the event loop; returns its port, 0 for none. Raises ConfigError."""
        if self._listen is None:
            return 0
        meters = Meters(self._requests, self._preprocess, self._lanes, self._loop_lag)
        self._endpoint = MetricsEndpoint(self._listen, ServerCollector(meters, sources))
        self._loop_lag.start()
        return self._endpoint.port

    async def stop(self) -> None:
        """Close the endpoint and send the last spans."""
        self._loop_lag.stop()
        if self._endpoint is not None:
            await asyncio.to_thread(self._endpoint.close)
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close, FLUSH_S)


def _tracing(endpoint: str) -> "Tracing":
    try:
        from clipsearch.telemetry.tracing import Tracing
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tracing to {endpoint} needs the tracing extra: pip install 'clipsearch[tracing]' "
            f"({error.name} is not installed)"
        ) from error
    return Tracing.to(endpoint)
