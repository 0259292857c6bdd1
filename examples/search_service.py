"""A backend service in front of clipsearch: an asyncio HTTP service whose requests call Search.

    pip install 'clipsearch[examples]'
    python examples/search_service.py --server localhost:50051 --port 8080

    curl 'localhost:8080/search?q=a+red+dress&k=5&filter=price+%3C+50'
    curl --data-binary @photo.jpg 'localhost:8080/search?k=5'
    curl localhost:8080/readyz

What a service should copy from it: one client for the process (it is one connection, used by all requests); a deadline
on every call, which the server is told; each kind of failure as the HTTP status that says what to do about it; a
request whose caller hangs up is cancelled down to the server's queue; and health that follows the server's.
"""

import argparse
import math
from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import web

from clipsearch.client import (
    AsyncClient,
    ClientError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
    SearchResult,
    Unavailable,
)

CLIENT = web.AppKey("client", AsyncClient)
DEADLINE_S = web.AppKey("deadline_s", float)

MAX_PICTURE_BYTES = 10 * 2**20

STATUSES: dict[type[ClientError], HTTPStatus] = {
    InvalidArgument: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    FailedPrecondition: HTTPStatus.CONFLICT,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
}
"""What a failed call is for our own caller; all else is a BAD_GATEWAY: neither they nor we can help it."""


async def search(request: web.Request) -> web.Response:
    """Answer with the hits for a text (``q``) or for the picture in the body, as JSON."""
    text = request.query.get("q")
    picture = None if text is not None else await request.read()
    try:
        top_k = int(request.query.get("k", "10"))
    except ValueError:
        return _refusal(HTTPStatus.BAD_REQUEST, "K_NOT_A_NUMBER", "k must be a whole number")
    try:
        found = await request.app[CLIENT].search(
            text=text,
            image=picture,
            top_k=top_k,
            filter=request.query.get("filter", ""),
            view="metadata",
            timeout=request.app[DEADLINE_S],
        )
    except ClientError as error:
        status = STATUSES.get(type(error), HTTPStatus.BAD_GATEWAY)
        return _refusal(status, error.reason or error.code.name, error.message, error.retry_after_s)
    return web.json_response(_answer(found))


def _answer(found: SearchResult) -> dict[str, object]:
    hits = [{"id": hit.id, "score": hit.score, "uri": hit.uri, "metadata": hit.metadata} for hit in found.hits]
    return {"hits": hits, "truncated": found.truncated, "server_us": found.timings.total_us}


def _refusal(status: HTTPStatus, reason: str, message: str, retry_after_s: float | None = None) -> web.Response:
    # Whole seconds are all that the header knows.
    headers = {} if retry_after_s is None else {"Retry-After": str(math.ceil(retry_after_s))}
    return web.json_response({"reason": reason, "message": message}, status=status, headers=headers)


async def live(_: web.Request) -> web.Response:
    """Say that this process runs; restarting it would not bring clipsearch back."""
    return web.Response(text="ok\n")


async def ready(request: web.Request) -> web.Response:
    """Say whether requests are of any use now: whether clipsearch reports SERVING."""
    if await request.app[CLIENT].ready():
        return web.Response(text="ok\n")
    return web.Response(text="clipsearch is not ready\n", status=HTTPStatus.SERVICE_UNAVAILABLE)


def make_app(server: str, deadline_s: float) -> web.Application:
    """Return the application; its client lives as long as it runs."""

    async def connection(app: web.Application) -> AsyncIterator[None]:
        async with AsyncClient(server) as client:
            app[CLIENT] = client
            yield

    app = web.Application(client_max_size=MAX_PICTURE_BYTES)
    app[DEADLINE_S] = deadline_s
    app.cleanup_ctx.append(connection)
    app.add_routes(
        [
            web.get("/search", search),
            web.post("/search", search),
            web.get("/livez", live),
            web.get("/readyz", ready),
        ]
    )
    return app


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="localhost:50051", help="HOST:PORT of clipsearch")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds that a search may take")
    arguments = parser.parse_args()
    app = make_app(arguments.server, arguments.deadline)
    # A handler whose caller hung up is cancelled, and with it its call: the server frees the place in its queue.
    web.run_app(app, host=arguments.host, port=arguments.port, handler_cancellation=True)


if __name__ == "__main__":
    main()
