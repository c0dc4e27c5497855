"""Which model a request is for that names none."""

import httpx
import msgspec

from worker.catalog import Catalog, Upstream, is_pattern
from worker.errors import InvalidRequest
from worker.settings import Settings
from worker.upstream import open_client
from worker.upstream.models import listed

SIMULATED_MODEL = "sim"
# How long an upstream may take to list its models: here nobody else waits for it.
LISTING_S = 10.0
# How many models an error names.
NAMED = 5


async def default_model(catalog: Catalog, settings: Settings) -> str:
    """The model to ask for: the setting's, or the only one that is named, or else listed.

    Raises:
        InvalidRequest: there are several, or nobody knows which there are.
        ConfigurationError: the upstream's key is not set.
    """
    if settings.model:
        return settings.model
    if catalog.simulated:
        return SIMULATED_MODEL
    models = [name for name in catalog.models() if not is_pattern(name)]
    if not models:
        models = await models_listed(catalog.upstreams[0], settings.connect_timeout_s)
    if len(models) == 1:
        return models[0]
    raise InvalidRequest("--model", "is missing", f"{_remedy(models)}, or set DELTAWORKS_MODEL")


async def models_listed(upstream: Upstream, connect_timeout_s: float) -> list[str]:
    """The models that the upstream lists and is configured for; none where it lists none.

    Raises:
        ConfigurationError: its key is not set.
    """
    try:
        async with open_client(connect_timeout_s) as http:
            models = await listed(upstream, http, LISTING_S)
    except (httpx.HTTPError, msgspec.MsgspecError):
        return []
    return [model.id for model in models if upstream.serves(model.id)]


def _remedy(models: list[str]) -> str:
    if not models:
        return "name the model"
    more = f" or another of {len(models)}" if len(models) > NAMED else ""
    return f"name one, such as {', '.join(models[:NAMED])}{more}"
