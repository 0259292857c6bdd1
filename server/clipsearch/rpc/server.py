"""The gRPC server: options, services, health and reflection."""

from collections.abc import Sequence

from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as aio_health
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from clipsearch.rpc.catalogue import CatalogueServicer
from clipsearch.rpc.embedding import EmbeddingServicer
from clipsearch.rpc.front.processes import FrontProcesses
from clipsearch.rpc.model import ModelServicer
from clipsearch.rpc.observed import Observation, Observed
from clipsearch.rpc.operations import OperationsServicer
from clipsearch.rpc.reading import forgiving
from clipsearch.rpc.search import SearchServicer
from clipsearch.rpc.transport import InProcess, Transport, TransportOptions
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


class RpcServer:
    """The transport and its servicers; starts NOT_SERVING."""

    def __init__(
        self,
        options: TransportOptions,
        embedding: EmbeddingServicer,
        search: SearchServicer,
        catalogue: CatalogueServicer,
        model: ModelServicer,
        *,
        operations: OperationsServicer,
        observation: Observation,
        interceptors: Sequence[aio.ServerInterceptor] = (),
        reflects: bool = True,
    ) -> None:
        """``reflects`` where reflection lists the methods to whoever asks."""
        gate = options.gate
        # Traces hold refused calls too.
        interceptors = (*interceptors, *(() if gate is None else (gate,)))
        self._transport: Transport
        if options.fronts:
            self._transport = FrontProcesses(options, interceptors)
        else:
            self._transport = InProcess(options, interceptors)
        observed: list[Observed] = [embedding, search, catalogue, model, operations]
        if gate is not None:
            observed.append(gate)
        for one in observed:
            one.observation = observation
        services = forgiving(self._transport.registry, observation)
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(embedding, services)
        search_pb2_grpc.add_SearchServiceServicer_to_server(search, services)
        catalogue_pb2_grpc.add_CatalogueServiceServicer_to_server(catalogue, services)
        model_pb2_grpc.add_ModelServiceServicer_to_server(model, services)
        operations_pb2_grpc.add_OperationsServicer_to_server(operations, services)
        self._health = aio_health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, services)
        if reflects:
            listed = (EMBEDDING, SEARCH, CATALOGUE, MODEL, OPERATIONS, HEALTH_SERVICE, reflection.SERVICE_NAME)
            # By hand, because ``enable_server_reflection`` takes any server but gRPC's own to be one with threads.
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
                reflection.aio.ReflectionServicer(listed), self._transport.registry
            )  # type: ignore[no-untyped-call]
        self.serving = False
        """What health says of the whole server."""

    async def start(self) -> int:
        """Bind and accept calls, reporting NOT_SERVING; returns the port. Raises ConfigError where it can't bind."""
        await self.report(False, search=False)
        return await self._transport.start()

    def fronts(self) -> list[int]:
        """Return the process ids of the front processes there are."""
        return self._transport.pids()

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
        await self._transport.stop(grace_s)
