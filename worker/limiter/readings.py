"""What the rate-limit headers of a response say of the upstream's limits.

    x-ratelimit-{limit,remaining,reset}-{requests,tokens}    OpenAI, Azure, Groq, Together, ...
    anthropic-ratelimit-{requests,tokens}-{limit,...}        Anthropic
    x-ratelimit-{limit,remaining,reset}                      OpenRouter and gateways: requests

None of them says per what time. It is a minute, unless the reset shows otherwise: a minute's
bucket is full within a minute. Groq's limit of requests, for one, is a day's.
"""

from collections.abc import Mapping, Sequence

from worker.classify.waits import units, until_reset_s
from worker.limiter.terms import Reading, Readings

_SPELLINGS = {
    "requests": (
        "x-ratelimit-{}-requests",
        "anthropic-ratelimit-requests-{}",
        "x-ratelimit-{}",
    ),
    "tokens": ("x-ratelimit-{}-tokens", "anthropic-ratelimit-tokens-{}"),
}

# The names of limit, remaining and reset, by unit: of every response.
_NAMES = {
    unit: [tuple(map(spelling.format, ("limit", "remaining", "reset"))) for spelling in spellings]
    for unit, spellings in _SPELLINGS.items()
}

_MINUTE_S, _DAY_S = 60.0, 86_400.0
# How far a reset may be off: some are rounded up to whole seconds.
_SLACK = 0.05


def readings_of(headers: Mapping[str, str]) -> Readings:
    """The readings in a response's headers, names in lower case; empty where there are none."""
    # One pass: httpx looks a name up by going through all of them.
    told = {name: value for name, value in headers.items() if "ratelimit" in name or name == "date"}
    found = {unit: _first(told, names) for unit, names in _NAMES.items()}
    return {unit: reading for unit, reading in found.items() if reading is not None}


def _first(headers: Mapping[str, str], names: Sequence[tuple[str, ...]]) -> Reading | None:
    readings = (_reading(headers, *each) for each in names)
    return next((reading for reading in readings if reading is not None), None)


def _reading(headers: Mapping[str, str], limited: str, left: str, reset: str) -> Reading | None:
    limit, remaining = units(headers.get(limited, "")), units(headers.get(left, ""))
    if limit == 0 or (limit is None and remaining is None):
        return None  # Azure sends -1 where it has no limit
    reset_s = until_reset_s(headers.get(reset, ""), headers)
    of_a_minute = limit is not None and _is_of_a_minute(limit, remaining, reset_s)
    return Reading(
        limit=limit if of_a_minute and limit is not None else -1.0,
        remaining=-1.0 if remaining is None else remaining,
    )


def _is_of_a_minute(limit: float, remaining: float | None, reset_s: float | None) -> bool:
    if reset_s is None:
        return True
    if reset_s > _MINUTE_S * (1 + _SLACK):
        return False
    used = limit - (limit if remaining is None else remaining)
    # A bucket that refills steadily is full when what was used has come back.
    return used <= 0 or abs(reset_s * limit / used - _DAY_S) > _SLACK * _DAY_S
