"""The ASGI application: routes as a list, and every error in one shape."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.errors import DeltaworksError
from worker.gateway import batches, events, health, jobs, models
from worker.gateway.chat import routes as chat
from worker.gateway.files import routes as files
from worker.gateway.gateway import open_gateway
from worker.gateway.openapi import routes as openapi
from worker.gateway.refusals import Refusal, refusal_of
from worker.gateway.responses import routes as responses
from worker.metrics import count, names
from worker.tracing import received

ROUTES = [
    Route("/v1/chat/completions", chat.complete, methods=["POST"]),
    Route("/v1/models", models.listing, methods=["GET"]),
    Route("/v1/models/{id:path}", models.show, methods=["GET"]),
    Route("/v1/responses", responses.create, methods=["POST"]),
    Route("/v1/responses/{id}", responses.show, methods=["GET"]),
    Route("/v1/responses/{id}", responses.erasing, methods=["DELETE"]),
    Route("/v1/responses/{id}/cancel", responses.cancelling, methods=["POST"]),
    Route("/v1/responses/{id}/input_items", responses.inputs, methods=["GET"]),
    Route("/v1/files", files.upload, methods=["POST"]),
    Route("/v1/files", files.listing, methods=["GET"]),
    Route("/v1/files/{id}", files.show, methods=["GET"]),
    Route("/v1/files/{id}", files.erasing, methods=["DELETE"]),
    Route("/v1/files/{id}/content", files.content, methods=["GET"]),
    Route("/v1/jobs", jobs.submit, methods=["POST"]),
    Route("/v1/jobs", jobs.listing, methods=["GET"]),
    Route("/v1/events", events.events_of_many, methods=["GET"]),
    Route("/v1/jobs/{id}", jobs.show, methods=["GET"]),
    Route("/v1/jobs/{id}", jobs.erasing, methods=["DELETE"]),
    Route("/v1/jobs/{id}/cancel", jobs.cancelling, methods=["POST"]),
    Route("/v1/jobs/{id}/retry", jobs.retry, methods=["POST"]),
    Route("/v1/jobs/{id}/token", jobs.token, methods=["POST"]),
    Route("/v1/jobs/{id}/events", events.events, methods=["GET"]),
    Route("/v1/batches", batches.create, methods=["POST"]),
    Route("/v1/batches", batches.listing, methods=["GET"]),
    Route("/v1/batches/{id}", batches.show, methods=["GET"]),
    Route("/v1/batches/{id}/cancel", batches.cancelling, methods=["POST"]),
    Route("/v1/batches/{id}/pause", batches.pausing, methods=["POST"]),
    Route("/v1/batches/{id}/resume", batches.resuming, methods=["POST"]),
    Route("/v1/batches/{id}/retry", batches.retry, methods=["POST"]),
    Route("/v1/batches/{id}/results", batches.results, methods=["GET"]),
    Route("/v1/batches/{id}/report", batches.report, methods=["GET"]),
    Route("/openapi.json", openapi.description, methods=["GET"]),
    Route("/docs", openapi.docs, methods=["GET"]),
    Route("/healthz", health.healthz, methods=["GET"]),
    Route("/readyz", health.readyz, methods=["GET"]),
]


def application(*, is_open: bool) -> Starlette:
    """The application; `is_open` where nobody needs a key."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_gateway(is_open=is_open) as gateway:
            app.state.gateway = gateway
            yield

    app = Starlette(
        routes=ROUTES,
        lifespan=lifespan,
        middleware=[Middleware(Faults), Middleware(Traced)],
        exception_handlers={
            404: _nowhere,
            405: _wrong_method,
            HTTPException: _refuse,
            DeltaworksError: _refuse,
            Refusal: _refuse,
        },
    )
    # A client that follows a redirect from a path that is wrong may send its body again, or not.
    app.router.redirect_slashes = False
    return app


class Faults:
    """Answers for faults of our own: by a 500 that tells nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                count(names.RESPONSES, str(message["status"]))
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            refusal = refusal_of(error)
            if not started:
                await refusal.response()(scope, receive, send)


class Traced:
    """Has what a request submits belong to the trace that the request names, if any."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        named = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope.get("headers", ())
            if name in (b"traceparent", b"tracestate")
        }
        with received(named):
            await self._app(scope, receive, send)


async def _refuse(_request: Request, error: Exception) -> Response:
    return refusal_of(error).response()


async def _nowhere(_request: Request, _error: Exception) -> Response:
    return Refusal(404, "there is nothing at this path; see /docs", code="not_found").response()


async def _wrong_method(request: Request, _error: Exception) -> Response:
    # Starlette names the methods of the first route of this path only.
    here = (route for route in ROUTES if route.path_regex.match(request.url.path))
    allowed = ", ".join(sorted({method for route in here for method in route.methods or ()}))
    problem, headers = f"{request.method}: is not for this path; use {allowed}", {"allow": allowed}
    return Refusal(405, problem, code="method_not_allowed", headers=headers).response()
