"""The HTTP endpoint that Prometheus scrapes, on a thread of its own."""

from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.registry import Collector

from clipsearch.errors import ConfigError


class MetricsEndpoint:
    """``/metrics`` at an address; plain HTTP, no authentication, nothing of a caller's in it."""

    def __init__(self, listen: str, collector: Collector) -> None:
        """Export a collector, and what Linux knows of the process; raises ConfigError where the port can't be had."""
        registry = CollectorRegistry()
        registry.register(collector)
        ProcessCollector(registry=registry)
        host, _, port = listen.rpartition(":")
        self._server: WSGIServer
        self._thread: Thread
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            raise ConfigError(f"cannot serve metrics on {listen}: {error.strerror or error}") from error
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
