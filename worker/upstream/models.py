"""The models that the configured upstreams serve, as far as they say."""

import asyncio
import logging
import time

import httpx
import msgspec

from worker.catalog import Catalog, Upstream, is_pattern
from worker.errors import ConfigurationError

logger = logging.getLogger(__name__)

# How long an upstream's own list is trusted, and how long it is waited for.
TRUSTED_S = 60.0
PATIENCE_S = 5.0
# What says nothing about its age.
UNKNOWN_AGE = 0


class Model(msgspec.Struct):
    """A model as OpenAI lists it. `created` is in seconds since the epoch."""

    id: str
    object: str = "model"
    created: int = UNKNOWN_AGE
    owned_by: str = ""


class _Listed(msgspec.Struct):
    """What servers say of a model; some leave out, or null, all but the id."""

    id: str
    created: float | None = None
    owned_by: str | None = None


class _List(msgspec.Struct):
    data: list[_Listed]


class Models:
    """The models of a catalog: those it names, and for patterns those the upstream lists."""

    def __init__(self, catalog: Catalog, http: httpx.AsyncClient) -> None:
        self._catalog = catalog
        self._http = http
        self._listed: dict[str, tuple[float, list[Model]]] = {}

    async def all(self) -> list[Model]:
        """Every model, each once, in the order of the upstreams."""
        lists = await asyncio.gather(*map(self._of, self._catalog.upstreams))
        found = {model.id: model for models in reversed(lists) for model in reversed(models)}
        return list(reversed(found.values()))

    async def _of(self, upstream: Upstream) -> list[Model]:
        exact = [name for name in upstream.models if not is_pattern(name)]
        named = [Model(name, owned_by=upstream.name) for name in exact]
        if len(named) == len(upstream.models):
            return named
        listed = [model for model in await self._asked(upstream) if upstream.serves(model.id)]
        names = {model.id for model in named}
        return named + [model for model in listed if model.id not in names]

    async def _asked(self, upstream: Upstream) -> list[Model]:
        until, models = self._listed.get(upstream.name, (0.0, []))
        if time.monotonic() < until:
            return models
        try:
            models = await listed(upstream, self._http)
        except (httpx.HTTPError, msgspec.MsgspecError, ConfigurationError) as error:
            # The last list is better than none.
            logger.warning("upstream %s: lists no models: %s", upstream.name, type(error).__name__)
        self._listed[upstream.name] = time.monotonic() + TRUSTED_S, models
        return models


async def ask_for_models(
    upstream: Upstream, http: httpx.AsyncClient, patience_s: float = PATIENCE_S
) -> httpx.Response:
    """The upstream's answer to `GET /models`.

    Raises:
        ConfigurationError: its key is not set.
        httpx.HTTPError: it did not answer, or not within `patience_s` seconds.
    """
    key = upstream.api_key()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with asyncio.timeout(patience_s):
            return await http.get(f"{upstream.base_url}/models", headers=headers)
    except TimeoutError:  # what arrives byte by byte keeps within every timeout of httpx
        raise httpx.ReadTimeout(f"no answer within {patience_s:g} s") from None


async def listed(
    upstream: Upstream, http: httpx.AsyncClient, patience_s: float = PATIENCE_S
) -> list[Model]:
    """The models that the upstream lists, whether it is configured for them or not.

    Raises:
        ConfigurationError: its key is not set.
        httpx.HTTPError, msgspec.MsgspecError: it lists none.
    """
    answer = (await ask_for_models(upstream, http, patience_s)).raise_for_status()
    found = msgspec.json.decode(answer.content, type=_List).data
    return [
        Model(
            each.id,
            created=int(each.created or UNKNOWN_AGE),
            owned_by=each.owned_by or upstream.name,
        )
        for each in found
    ]
