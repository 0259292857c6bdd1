"""The gRPC server: options, services, health and reflection."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as aio_health
from grpc_reflection.v1alpha import reflection

from clipsearch.errors import ConfigError
from clipsearch.rpc.catalogue import CatalogueServicer
from clipsearch.rpc.embedding import EmbeddingServicer
from clipsearch.rpc.gate import Gate
from clipsearch.rpc.model import ModelServicer
from clipsearch.rpc.observed import Observation, Observed
from clipsearch.rpc.operations import OperationsServicer
from clipsearch.rpc.reading import forgiving
from clipsearch.rpc.search import SearchServicer
from clipsearch.rpc.tls import Certificates
from clipsearch.v1 import (
    catalogue_pb2,
    catalogue_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)

EMBEDDING = embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
SEARCH = search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name
CATALOGUE = catalogue_pb2.DESCRIPTOR.services_by_name["CatalogueService"].full_name
MODEL = model_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["Operations"].full_name

Status = health_pb2.HealthCheckResponse


@dataclass(frozen=True, slots=True)
class RpcOptions:
    """What the transport is told."""

    listen: str
    """``host:port``, where port 0 lets the system choose, or ``unix:path``."""
    max_message_bytes: int
    max_metadata_bytes: int
    max_concurrent_streams: int
    certificates: Certificates | None = None
    """What to serve TLS with; None: clear text."""
    gate: Gate | None = None
    """Who lets calls in; None: all come in."""
    reflection: bool = True


class RpcServer:
    """The transport and its servicers; starts NOT_SERVING."""

    def __init__(
        self,
        options: RpcOptions,
        embedding: EmbeddingServicer,
        search: SearchServicer,
        catalogue: CatalogueServicer,
        model: ModelServicer,
        *,
        operations: OperationsServicer,
        observation: Observation,
        interceptors: Sequence[aio.ServerInterceptor] = (),
    ) -> None:
        self._server = aio.server(
            # Traces hold refused calls too.
            interceptors=(*interceptors, *(() if options.gate is None else (options.gate,))),
            options=(
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                # The second is where gRPC is certain to refuse; between the two it would draw lots.
                ("grpc.max_metadata_size", options.max_metadata_bytes),
                ("grpc.absolute_max_metadata_size", options.max_metadata_bytes),
                ("grpc.max_concurrent_streams", options.max_concurrent_streams),
                # Two servers that share a port by accident would each get half of the calls.
                ("grpc.so_reuseport", 0),
            ),
        )
        observed: list[Observed] = [embedding, search, catalogue, model, operations]
        if options.gate is not None:
            observed.append(options.gate)
        for one in observed:
            one.observation = observation
        services = forgiving(self._server, observation)
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(embedding, services)
        search_pb2_grpc.add_SearchServiceServicer_to_server(search, services)
        catalogue_pb2_grpc.add_CatalogueServiceServicer_to_server(catalogue, services)
        model_pb2_grpc.add_ModelServiceServicer_to_server(model, services)
        operations_pb2_grpc.add_OperationsServicer_to_server(operations, services)
        self._health = aio_health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, services)
        if options.reflection:
            reflection.enable_server_reflection(
                (EMBEDDING, SEARCH, CATALOGUE, MODEL, OPERATIONS, HEALTH_SERVICE, reflection.SERVICE_NAME),
                self._server,
            )
        self._listen = options.listen
        self._certificates = options.certificates
        self.serving = False
        """What health says of the whole server."""

    async def start(self) -> int:
        """Bind and accept calls, reporting NOT_SERVING; returns the port. Raises ConfigError where it can't bind."""
        await self.report(False, search=False)
        try:
            if self._certificates is None:
                port = self._server.add_insecure_port(self._listen)
            else:
                port = self._server.add_secure_port(self._listen, self._certificates.credentials())
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {self._listen}: {error}") from error
        await self._server.start()
        return port

    async def report(self, serving: bool, *, search: bool) -> None:
        """Set the health of the whole server and of each service; ``search`` is False without a data directory."""
        self.serving = serving
        with_data = serving and search
        for service, up in (
            ("", serving),
            (EMBEDDING, serving),
            (MODEL, serving),
            (SEARCH, with_data),
            (CATALOGUE, with_data),
        ):
            await self._health.set(service, Status.SERVING if up else Status.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Report NOT_SERVING for good, refuse new calls, and give running ones ``grace_s`` seconds."""
        self.serving = False
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    async def wait(self) -> None:
        """Until the server has stopped."""
        await self._server.wait_for_termination()
