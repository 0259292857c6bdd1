"""``Client.models``: replacing the model that a server serves, while it serves."""

# ruff: noqa: ASYNC109  a timeout here is the call's deadline, which the server is told: more than asyncio.timeout does

from clipsearch.client.connection import AsyncConnection, Connection
from clipsearch.client.convert_operations import PROMOTE, RELOAD, STAGE, UNSTAGE
from clipsearch.client.operation import AsyncOperation, Operation
from clipsearch.client.types import PromotedModel, ReloadedModel, StagedModel
from clipsearch.v1 import model_pb2 as pb
from clipsearch.v1 import model_pb2_grpc


class Models:
    """Jobs about the model, one at a time: Aborted says that one runs. ``bundle`` is a directory below the server's
    ``bundles``; where it is empty the server reads its own ``bundle`` again.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = model_pb2_grpc.ModelServiceStub(connection.channel)

    def reload(self, bundle: str = "", *, timeout: float | None = None) -> Operation[ReloadedModel]:
        """Start to put another bundle of the same weights in the place of the one that serves.

        Of other weights, the operation fails with FailedPrecondition while collections hold items: ``stage`` those.
        """
        request = pb.ReloadModelRequest(bundle=bundle)
        return Operation(self._connection, self._connection.call(self._stub.ReloadModel, request, timeout).name, RELOAD)

    def stage(self, bundle: str = "", *, timeout: float | None = None) -> Operation[StagedModel]:
        """Start to load a bundle of other weights beside the one that serves, with empty collections of its own.

        They are called ``NAME@next``: write to them and search them as any others.
        """
        request = pb.StageModelRequest(bundle=bundle)
        return Operation(self._connection, self._connection.call(self._stub.StageModel, request, timeout).name, STAGE)

    def promote(self, *, allow_missing: bool = False, timeout: float | None = None) -> Operation[PromotedModel]:
        """Start to put the staged model and its collections in the places of those that serve.

        The operation fails with FailedPrecondition while items are missing, unless ``allow_missing``: they are gone
        then.
        """
        request = pb.PromoteModelRequest(allow_missing=allow_missing)
        started = self._connection.call(self._stub.PromoteModel, request, timeout)
        return Operation(self._connection, started.name, PROMOTE)

    def unstage(self, *, timeout: float | None = None) -> Operation[None]:
        """Start to let go of the staged model and to delete its collections."""
        started = self._connection.call(self._stub.UnstageModel, pb.UnstageModelRequest(), timeout)
        return Operation(self._connection, started.name, UNSTAGE)


class AsyncModels:
    """As ``Models``, awaited."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._stub = model_pb2_grpc.ModelServiceStub(connection.channel)

    async def reload(self, bundle: str = "", *, timeout: float | None = None) -> AsyncOperation[ReloadedModel]:
        """As ``Models.reload``."""
        request = pb.ReloadModelRequest(bundle=bundle)
        started = await self._connection.call(self._stub.ReloadModel, request, timeout)
        return AsyncOperation(self._connection, started.name, RELOAD)

    async def stage(self, bundle: str = "", *, timeout: float | None = None) -> AsyncOperation[StagedModel]:
        """As ``Models.stage``."""
        request = pb.StageModelRequest(bundle=bundle)
        started = await self._connection.call(self._stub.StageModel, request, timeout)
        return AsyncOperation(self._connection, started.name, STAGE)

    async def promote(
        self, *, allow_missing: bool = False, timeout: float | None = None
    ) -> AsyncOperation[PromotedModel]:
        """As ``Models.promote``."""
        request = pb.PromoteModelRequest(allow_missing=allow_missing)
        started = await self._connection.call(self._stub.PromoteModel, request, timeout)
        return AsyncOperation(self._connection, started.name, PROMOTE)

    async def unstage(self, *, timeout: float | None = None) -> AsyncOperation[None]:
        """As ``Models.unstage``."""
        started = await self._connection.call(self._stub.UnstageModel, pb.UnstageModelRequest(), timeout)
        return AsyncOperation(self._connection, started.name, UNSTAGE)
