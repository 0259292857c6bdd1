"""ModelService: parse, call the use case, convert."""

from google.longrunning import operations_pb2

from clipsearch.rpc.convert_operations import operation
from clipsearch.rpc.observed import Context, Observed
from clipsearch.rpc.status import answers_errors
from clipsearch.services.model_jobs import ModelJobs
from clipsearch.v1 import model_pb2 as pb
from clipsearch.v1 import model_pb2_grpc


class ModelServicer(Observed, model_pb2_grpc.ModelServiceServicer):
    """The RPCs about the model that serves."""

    def __init__(self, jobs: ModelJobs) -> None:
        self._jobs = jobs

    @answers_errors
    async def ReloadModel(self, request: pb.ReloadModelRequest, context: Context) -> operations_pb2.Operation:
        return operation(self._jobs.reload(request.bundle))

    @answers_errors
    async def StageModel(self, request: pb.StageModelRequest, context: Context) -> operations_pb2.Operation:
        return operation(self._jobs.stage(request.bundle))

    @answers_errors
    async def PromoteModel(self, request: pb.PromoteModelRequest, context: Context) -> operations_pb2.Operation:
        return operation(self._jobs.promote(allow_missing=request.allow_missing))

    @answers_errors
    async def UnstageModel(self, request: pb.UnstageModelRequest, context: Context) -> operations_pb2.Operation:
        return operation(self._jobs.unstage())
