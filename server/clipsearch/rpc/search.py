"""SearchService: parse, call the use case, convert."""

from clipsearch.errors import ClipsearchError, NoIndex
from clipsearch.ports import Priority
from clipsearch.rpc import convert
from clipsearch.rpc.observed import Context, Observed
from clipsearch.rpc.status import answers_errors, to_status
from clipsearch.services.call import Call
from clipsearch.services.query import SearchQuery
from clipsearch.services.search import Found, SearchService
from clipsearch.v1 import common_pb2, search_pb2_grpc
from clipsearch.v1 import search_pb2 as pb


class SearchServicer(Observed, search_pb2_grpc.SearchServiceServicer):
    """The search RPCs; without an index they answer NO_INDEX."""

    def __init__(self, service: SearchService | None) -> None:
        self._service = service

    @answers_errors
    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        call = convert.call_of(context, request.priority, Priority.INTERACTIVE)
        found = await self._searcher().search(convert.search_query(request), call)
        return convert.search_response(found, request.format, call.started)

    @answers_errors
    async def BatchSearch(self, request: pb.BatchSearchRequest, context: Context) -> pb.BatchSearchResponse:
        service = self._searcher()
        parsed = [_parse(message, context) for message in request.requests]
        queries, calls = [query for query, _ in parsed], [call for _, call in parsed]
        results = await service.batch(queries, calls)
        return pb.BatchSearchResponse(
            results=[
                _result(result, i, message.format, call.started)
                for i, (result, message, call) in enumerate(zip(results, request.requests, calls, strict=True))
            ]
        )

    def _searcher(self) -> SearchService:
        if self._service is None:
            raise NoIndex("this server was started without an index")
        return self._service


def _parse(message: pb.SearchRequest, context: Context) -> tuple[SearchQuery | ClipsearchError, Call]:
    call = convert.call_of(context, common_pb2.PRIORITY_UNSPECIFIED, Priority.INTERACTIVE)
    try:
        call = convert.call_of(context, message.priority, Priority.INTERACTIVE)
        return convert.search_query(message), call
    except ClipsearchError as error:
        return error, call


def _result(result: Found | ClipsearchError, place: int, format_: int, started: float) -> pb.BatchSearchResult:
    if isinstance(result, ClipsearchError):
        return pb.BatchSearchResult(error=to_status(result.at(f"requests[{place}]")))
    return pb.BatchSearchResult(response=convert.search_response(result, format_, started))
