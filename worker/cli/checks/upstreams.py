"""Checks of the upstreams: whether each is there, and, where it is wished, whether it answers."""

import asyncio
from collections.abc import Mapping, Sequence

import httpx

from worker import endpoints, settings
from worker.catalog import Catalog, Upstream, is_pattern
from worker.cli.checks.finding import Finding, Level
from worker.cli.default_model import LISTING_S, SIMULATED_MODEL, models_listed
from worker.costs import spent_on
from worker.errors import Category, ConfigurationError, InvalidRequest, UpstreamError
from worker.upstream import Exchange, Limits, Request, open_client
from worker.upstream.models import ask_for_models

# The least that can be asked for. Newer models of OpenAI's know the limit by its second name only.
LEAST = ("max_tokens", "max_completion_tokens")
PROMPT = [{"role": "user", "content": "Say ok."}]
# How long an answer of one token may take.
ANSWER_S = 60.0


async def listed() -> Sequence[Finding]:
    """Whether each upstream answers a question that costs nothing."""
    catalog = await asyncio.to_thread(endpoints.upstreams)
    return [await _listed(upstream) for upstream in catalog.upstreams]


async def _listed(upstream: Upstream) -> Finding:
    at = f"{upstream.name} at {upstream.base_url}"
    try:
        async with open_client(settings.load().connect_timeout_s) as http:
            answer = await ask_for_models(upstream, http, LISTING_S)
    except ConfigurationError as error:
        return Finding("upstream", Level.FAIL, at, str(error))
    except httpx.HTTPError as error:
        said = f"{at}: no answer ({type(error).__name__})"
        return Finding("upstream", Level.FAIL, said, "check base_url, and the way to it")
    if answer.status_code in (401, 403):
        said = f"{at}: refuses the key (HTTP {answer.status_code})"
        remedy = f"put a valid key into {upstream.api_key_env or 'a variable, and name it'}"
        return Finding("upstream", Level.FAIL, said, remedy)
    if not answer.is_success:
        said = f"{at}: GET /models answers HTTP {answer.status_code}"
        return Finding("upstream", Level.WARN, said, "harmless if it does not list its models")
    return Finding("upstream", Level.OK, at)


async def asked(names: Sequence[str]) -> Sequence[Finding]:
    """What these upstreams, or all of them, answer to a streamed request for one token.

    Args:
        names: none are all.

    Raises:
        InvalidRequest: no upstream has a name.
    """
    catalog = await asyncio.to_thread(endpoints.upstreams)
    known = [upstream.name for upstream in catalog.upstreams]
    for name in names:
        if name not in known:
            problem = f"{name[:40]!r} is no upstream's name"
            raise InvalidRequest("--ask", problem, f"use {' or '.join(known)}")
    wanted = [each for each in catalog.upstreams if not names or each.name in names]
    return [await _asked(catalog, upstream) for upstream in wanted]


async def _asked(catalog: Catalog, upstream: Upstream) -> Finding:
    try:
        model = await _model(catalog, upstream)
        if model is None:
            said = f"{upstream.name}: it lists no model that it is configured for"
            return Finding("answer", Level.WARN, said, "name one: DELTAWORKS_MODEL=...")
        exchange, took_s = await _answer(upstream, model)
    except ConfigurationError as error:
        return Finding("answer", Level.FAIL, upstream.name, str(error))
    except UpstreamError as error:
        said = f"{upstream.name}: {error}: {error.message}"
        return Finding("answer", Level.FAIL, said, _REMEDIES.get(error.category, LOOK))
    cost, usage = spent_on(exchange, model), exchange.transcript.usage or {}
    counted = [f"{usage[name]} {name}" for name in ("prompt_tokens", "completion_tokens")
               if name in usage]  # fmt: skip
    price = "no price is configured" if cost is None else f"cost {cost:.6f}"
    said = f"{upstream.name}: {model} answered in {took_s:.2f} s"
    return Finding("answer", Level.OK, "; ".join([said, ", ".join(counted) or "no usage", price]))


_PATIENCE = Limits(
    first_byte_s=ANSWER_S,
    first_token_s=ANSWER_S,
    token_gap_s=ANSWER_S,
    attempt_s=ANSWER_S,
    end_grace_s=1.0,
    left_s=ANSWER_S,
)
LOOK = "see what is done then: deltaworks policy show"
_REMEDIES: Mapping[Category, str] = {
    Category.AUTH: "put a valid key into the variable that api_key_env names",
    Category.BILLING: "see to the account: it has no money, or no right to this model",
    Category.NOT_FOUND: "correct base_url, or the model's name",
    Category.CONNECTION: "check base_url, and the way to it",
}


async def _model(catalog: Catalog, upstream: Upstream) -> str | None:
    """The model to ask: the setting's, the first that is named, or the first that is listed."""
    known = settings.load()
    if known.model is not None and upstream.serves(known.model):
        return known.model
    if catalog.simulated:
        return SIMULATED_MODEL
    named = [name for name in upstream.models if not is_pattern(name)]
    if named:
        return named[0]
    found = await models_listed(upstream, known.connect_timeout_s)
    return found[0] if found else None


async def _answer(upstream: Upstream, model: str) -> tuple[Exchange, float]:
    loop = asyncio.get_running_loop()
    async with open_client(settings.load().connect_timeout_s) as http:
        for limit in LEAST:
            body = {"model": model, "messages": PROMPT, "stream": True, limit: 1}
            request = Request(upstream, body, "doctor", 1)
            exchange = Exchange(
                http, request, settings.load().max_event_bytes, lambda _, *, clean: None
            )
            began = loop.time()
            try:
                await exchange.run(_PATIENCE, lambda: None)
            except UpstreamError as error:
                if error.category is not Category.BAD_REQUEST or limit == LEAST[-1]:
                    raise
                continue
            return exchange, loop.time() - began
    raise AssertionError("unreachable")
