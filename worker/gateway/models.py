"""`GET /v1/models`: what the configured upstreams serve, and this key may use."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from worker.access import Principal, Scope
from worker.gateway.answers import json_answer
from worker.gateway.body import gateway_of, principal_of
from worker.gateway.refusals import Refusal
from worker.upstream.models import Model


async def listing(request: Request) -> Response:
    """`GET /v1/models`."""
    principal = await principal_of(request, Scope.READ)
    models = allowed(await gateway_of(request).models.all(), principal)
    return json_answer({"object": "list", "data": models})


async def show(request: Request) -> Response:
    """`GET /v1/models/{id}`."""
    principal = await principal_of(request, Scope.READ)
    id = request.path_params["id"]
    for model in allowed(await gateway_of(request).models.all(), principal):
        if model.id == id:
            return json_answer(model)
    raise Refusal(404, f"no model is called {id[:40]!r}", code="model_not_found", param="model")


def allowed(models: Iterable[Model], principal: Principal) -> list[Model]:
    """Those of the models that the key may use."""
    return [model for model in models if principal.may_use(model.id)]
