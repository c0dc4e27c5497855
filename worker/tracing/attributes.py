"""What a span says of a request to an upstream, and of its answer.

Names of OpenTelemetry's semantic conventions for generative AI, 1.41 ("Inference"): they are still
in development there, so they are written out here instead of taken from a package that moves.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from worker.usage import CACHED, INPUT, OUTPUT, REASONING, count

if TYPE_CHECKING:
    from worker.upstream import Exchange

Attributes = dict[str, str | int | float | bool | list[str]]

# Well-known values of `gen_ai.provider.name`, by the end of the host; others are the upstream's
# own name.
PROVIDERS = {
    "openai.azure.com": "azure.ai.openai",
    "ai.azure.com": "azure.ai.inference",
    "openai.com": "openai",
    "anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "amazonaws.com": "aws.bedrock",
    "cohere.ai": "cohere",
    "cohere.com": "cohere",
    "deepseek.com": "deepseek",
    "groq.com": "groq",
    "mistral.ai": "mistral_ai",
    "perplexity.ai": "perplexity",
    "x.ai": "x_ai",
}
# Parameters of a request that have an attribute.
PARAMETERS = {
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
}


def of_request(exchange: "Exchange") -> Attributes:
    """What is known before it is sent."""
    request = exchange.request
    told: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": str(request.body.get("model", "")),
        "gen_ai.request.stream": True,
        "deltaworks.job.id": request.job,
        "deltaworks.attempt": request.attempt,
        "deltaworks.upstream": request.upstream.name,
        **_place(request.upstream.base_url, request.upstream.name),
    }
    for parameter, name in PARAMETERS.items():
        value = request.body.get(parameter)
        if isinstance(value, int | float) and not isinstance(value, bool):
            told[name] = value
    choices = request.body.get("n")
    if isinstance(choices, int) and choices != 1:
        told["gen_ai.request.choice.count"] = choices
    return told


def of_answer(exchange: "Exchange") -> Attributes:
    """What came of it, as far as it came."""
    transcript = exchange.transcript
    told: Attributes = {}
    if transcript.model:
        told["gen_ai.response.model"] = transcript.model
    if exchange.request_id:
        told["deltaworks.upstream.request_id"] = exchange.request_id
    if transcript.finish_reason:
        reasons = [message.get("finish_reason") for message in transcript.output()]
        told["gen_ai.response.finish_reasons"] = [str(each) for each in reasons if each]
    if exchange.started_at and exchange.first_delta_at:
        waited = exchange.first_delta_at - exchange.started_at
        told["gen_ai.response.time_to_first_chunk"] = waited.total_seconds()
    return told | _tokens(transcript.usage or {})


def _tokens(usage: Mapping[str, object]) -> Attributes:
    found = {
        "gen_ai.usage.input_tokens": count(usage, *INPUT),
        "gen_ai.usage.output_tokens": count(usage, *OUTPUT),
        "gen_ai.usage.cache_read.input_tokens": count(usage, *CACHED),
        "gen_ai.usage.reasoning.output_tokens": count(usage, *REASONING),
    }
    return {name: value for name, value in found.items() if value is not None}


@lru_cache(maxsize=256)
def _place(base_url: str, upstream: str) -> Attributes:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    fitting = (name for end, name in PROVIDERS.items() if host == end or host.endswith(f".{end}"))
    return {
        "gen_ai.provider.name": next(fitting, upstream),
        "server.address": host,
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
