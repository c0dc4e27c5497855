"""Which model a request is for that names none."""

import httpx
import msgspec

from worker.catalog import ANY_MODEL, Catalog, Upstream
from worker.errors import InvalidRequest
from worker.settings import Settings
from worker.upstream import open_client

SIMULATED_MODEL = "sim"
# How long an upstream may take to list its models.
LISTING_S = 10.0
# How many models an error names.
NAMED = 5


class _Model(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    data: list[_Model]


async def default_model(catalog: Catalog, settings: Settings) -> str:
    """The model to ask for: the setting's, or the only one there is.

    Raises:
        InvalidRequest: there are several, or nobody knows which there are.
        ConfigurationError: the upstream's key is not set.
    """
    if settings.model:
        return settings.model
    if catalog.simulated:
        return SIMULATED_MODEL
    models = [model for model in catalog.models() if model != ANY_MODEL]
    if not models:
        models = await models_listed(catalog.upstreams[0], settings.connect_timeout_s)
    if len(models) == 1:
        return models[0]
    raise InvalidRequest("--model", "is missing", f"{_remedy(models)}, or set DELTAWORKS_MODEL")


async def ask_for_models(upstream: Upstream, connect_timeout_s: float) -> httpx.Response:
    """The upstream's answer to `GET /models`.

    Raises:
        ConfigurationError: its key is not set.
        httpx.HTTPError: it did not answer.
    """
    key = upstream.api_key()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with open_client(connect_timeout_s) as http:
        url = f"{upstream.base_url.rstrip('/')}/models"
        return await http.get(url, headers=headers, timeout=LISTING_S)


async def models_listed(upstream: Upstream, connect_timeout_s: float) -> list[str]:
    """The models that the upstream lists; none where it does not."""
    try:
        answer = (await ask_for_models(upstream, connect_timeout_s)).raise_for_status()
        return [model.id for model in msgspec.json.decode(answer.content, type=_Listing).data]
    except (httpx.HTTPError, msgspec.DecodeError):
        return []


def _remedy(models: list[str]) -> str:
    if not models:
        return "name the model"
    more = f" or another of {len(models)}" if len(models) > NAMED else ""
    return f"name one, such as {', '.join(models[:NAMED])}{more}"
