"""The page's own web addresses beside Streamlit's: items' pictures, made small."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from clipsearch_demo.ui.pictures import CARD_PX, LARGE_PX, ROUTE, NotAPicture, Pictures, file_thumbnail


def picture_route(pictures: Pictures) -> Route:
    """Return the route ``/pictures/KIND/SIDE/PATH``, which answers with a JPEG or 404."""

    async def show(request: Request) -> Response:
        side = int(request.path_params["side"])
        file = await run_in_threadpool(pictures.file, request.path_params["kind"], request.path_params["path"])
        # Only sizes that the page asks for: any other would be another picture to keep in memory.
        if file is None or side not in {CARD_PX, LARGE_PX}:
            return PlainTextResponse("there is no such picture", status_code=404)
        modified_ns = file.stat().st_mtime_ns
        tag = f'"{modified_ns:x}-{side}"'
        headers = {"ETag": tag, "Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        try:
            content = await run_in_threadpool(file_thumbnail, file, modified_ns, side)
        except NotAPicture as error:
            return PlainTextResponse(f"the file is no picture: {error}", status_code=404)
        return Response(content, media_type="image/jpeg", headers=headers)

    return Route(f"{ROUTE}/{{kind}}/{{side:int}}/{{path:path}}", show)
