"""Headers say what they say; what could be misread is not read."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from worker.limiter.readings import readings_of
from worker.limiter.terms import Reading

SOON = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()


def openai(unit: str, limit: object, remaining: object, reset: object) -> dict[str, str]:
    said = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{name}-{unit}": str(value) for name, value in said.items()}


@pytest.mark.parametrize(
    "headers",
    [
        openai("requests", 500, 499, "120ms"),
        openai("requests", 500, 499, "6m0s") | openai("requests", 500, 499, "12"),
        openai("requests", 500, 499, ""),
        {"anthropic-ratelimit-requests-limit": "500"}
        | {"anthropic-ratelimit-requests-remaining": "499"}
        | {"anthropic-ratelimit-requests-reset": SOON},
        {"x-ratelimit-limit": "500", "x-ratelimit-remaining": "499"}
        | {"x-ratelimit-reset": str(int((time.time() + 40) * 1000))},
    ],
)
def test_every_spelling_of_a_minutes_limit_is_read(headers: dict[str, str]) -> None:
    assert readings_of(headers) == {"requests": Reading(limit=500, remaining=499)}


def test_requests_and_tokens_are_read_apart() -> None:
    headers = openai("requests", 60, 59, "1s") | openai("tokens", 6000, 0, "1m0s")
    assert readings_of(headers) == {
        "requests": Reading(limit=60, remaining=59),
        "tokens": Reading(limit=6000, remaining=0),
    }


@pytest.mark.parametrize("reset", ["2m59.56s", "30s"])
def test_a_days_limit_is_not_taken_for_a_minutes(reset: str) -> None:
    # Groq: 14,400 a day come back one in six seconds.
    remaining = 14_400 - (30 if reset.startswith("2m") else 5)
    readings = readings_of(openai("requests", 14_400, remaining, reset))
    assert readings == {"requests": Reading(limit=-1, remaining=remaining)}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/event-stream"},
        openai("requests", -1, -1, 0),
        openai("requests", 0, 0, 0),
        openai("tokens", "many", "", "soon"),
        {"x-ratelimit-limit-requests-day": "100"},
    ],
)
def test_what_says_nothing_is_not_read(headers: dict[str, str]) -> None:
    assert readings_of(headers) == {}
