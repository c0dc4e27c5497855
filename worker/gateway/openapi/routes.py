"""`GET /openapi.json` and `GET /docs`; both open to everybody: they hold no secret."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from worker import __version__
from worker.gateway.answers import json_answer
from worker.gateway.openapi.document import document
from worker.gateway.openapi.page import HEADERS, page


async def description(_request: Request) -> Response:
    """The OpenAPI document."""
    return json_answer(document(__version__))


async def docs(request: Request) -> Response:
    """The same for people."""
    address = str(request.base_url).rstrip("/")
    return HTMLResponse(page(__version__, address), headers=HEADERS)
