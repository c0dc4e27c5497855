"""The wait is the one the upstream meant, or none; never nonsense."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from worker.classify import classify_event, classify_response
from worker.errors import Category

NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
DATE = {"date": format_datetime(NOW, usegmt=True)}
IN_30_S = format_datetime(NOW + timedelta(seconds=30), usegmt=True)
LONGEST_S = 366 * 86_400.0
NONSENSE = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "0.0",
    "0.0000001",
    "",
    "soon",
    "1e3",
    "1_000",
    "٣",
    "1,5",
    "9" * 40,
]


def wait_of(headers: dict[str, str], message: str = "", **error: object) -> float | None:
    document = {"error": {"message": message, "code": 429, **error}}
    return classify_event(document, headers={**DATE, **headers}).retry_after_s


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after-ms": "1898.5", "retry-after": "2"}, 1.8985),
        ({"Retry-After-Ms": "20", "RETRY-AFTER": "2"}, 0.02),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": ".5"}, 0.5),
        ({"retry-after": IN_30_S}, 30.0),
        ({"retry-after": IN_30_S.replace("GMT", "-0000")}, 30.0),
        ({"retry-after": "2678400"}, 2_678_400.0),
        ({"retry-after": DATE["date"]}, None),
        ({"retry-after": "99999999999"}, LONGEST_S),
        ({"retry-after-ms": "99999999999999", "retry-after": "2"}, LONGEST_S),
        ({"retry-after": "Fri, 21 Oct 2050 07:28:30 GMT"}, LONGEST_S),
        ({"retry-after": "31622401"}, LONGEST_S),
        ({"retry-after": "7, 7"}, 7.0),
        ({"retry-after": "7, 30.5, 8"}, 30.5),
        ({"retry-after": f"{IN_30_S}, 7"}, 30.0),
        ({"retry-after": f"40, {IN_30_S}"}, 40.0),
        ({"retry-after": f"{IN_30_S}, {DATE['date']}"}, 30.0),
        ({"retry-after": "0, 7, soon, nan"}, 7.0),
        ({"retry-after-ms": "20, 1898.5", "retry-after": "7"}, 1.8985),
        ({"retry-after-ms": "0, nan", "retry-after": "7, 7"}, 7.0),
        ({"retry-after": "Wed, 99 Oct 2026 07:28:30 GMT"}, None),
    ],
)
def test_a_retry_after_header_is_read(headers: dict[str, str], wait_s: float | None) -> None:
    assert wait_of(headers) == wait_s


@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_in_one_source_asks_the_next(value: str) -> None:
    assert wait_of({"retry-after-ms": value, "retry-after": "7"}) == 7.0
    assert wait_of({"retry-after": value}, "try again in 8s") == 8.0
    resets = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": value}
    assert wait_of(resets) is None


def test_without_a_date_header_our_own_clock_measures_an_http_date() -> None:
    due = format_datetime(datetime.fromtimestamp(time.time() + 100, UTC), usegmt=True)
    wait_s = classify_response(503, {"retry-after": due}, b"").retry_after_s
    assert wait_s is not None
    assert 90 < wait_s <= 100


@pytest.mark.parametrize(
    ("message", "wait_s"),
    [
        ("Please try again in 1.898s. Visit https://x", 1.898),
        ("Please try again in 6m0s.", 360.0),
        ("try again in 1m26.4s", 86.4),
        ("Please retry in 10h17m5.72s.", 37_025.72),
        ("Please retry in 10h17m5.723541104s.", 37_025.723541),
        ("TRY AGAIN IN 20MS", 0.02),
        ("Please retry after 37 seconds.", 37.0),
        ("Try again in 60 seconds.", 60.0),
        ("please try again after 1 second", 1.0),
        ("retry after 5", 5.0),
        ("retry after 2.5.", 2.5),
        ("try again in 2 minutes and 30 seconds", 150.0),
        ("try again in 1 hour, 5 min", 3_900.0),
        ("try again in 1d2h", 93_600.0),
        ("try again in 0s", None),
        ("try again in 3 business days", None),
        ("try again in a moment", None),
        ("try again in 9999d", LONGEST_S),
        ("try again later; 5 seconds", None),
        ("", None),
    ],
)
def test_the_wording_of_a_message_is_read(message: str, wait_s: float | None) -> None:
    assert wait_of({}, message) == wait_s


@pytest.mark.parametrize(
    ("delay", "wait_s"),
    [("34.4s", 34.4), ("900ms", 0.9), ("51820.6s", 51_820.6), (12, 12.0), ("0s", 5.0), (None, 5.0)],
)
def test_retry_info_goes_before_the_message(delay: object, wait_s: float) -> None:
    retry_info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    assert wait_of({}, "retry in 5s", details=["odd", retry_info]) == wait_s


def test_retry_info_of_the_provider_behind_openrouter_counts() -> None:
    raw = (
        '[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":'
        '[{"@type":"google.rpc.RetryInfo","retryDelay":"4s"}]}}]'
    )
    assert wait_of({}, "Provider returned error", metadata={"raw": raw}) == 4.0


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12ms"}, 0.012),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "37"}, 37.0),
        ({"x-ratelimit-remaining-tokens": "-3", "x-ratelimit-reset-tokens": "2m59.56s"}, 179.56),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-remaining-tokens": "0"}, None),
        ({"x-ratelimit-remaining-tokens": "some", "x-ratelimit-reset-tokens": "1s"}, None),
        (
            {
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "2s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1m",
            },
            60.0,
        ),
        (
            {
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-10-21T07:28:45Z",
            },
            45.0,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW.timestamp() + 9)}, 9.0),
        (
            {
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": str(int(NOW.timestamp() + 9) * 1_000),
            },
            9.0,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2026-10-21T07:28:00"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999-10-21T07:28:00"}, LONGEST_S),
    ],
)
def test_a_reset_time_counts_for_an_empty_bucket_only(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert wait_of(headers) == wait_s


def test_headers_that_openrouter_hands_on_count() -> None:
    handed_on = {
        "X-RateLimit-Remaining": 0,
        "X-RateLimit-Reset": int(NOW.timestamp() + 5) * 1_000,
    }
    assert wait_of({}, metadata={"headers": handed_on}) == 5.0


def test_a_reset_time_is_no_wait_for_a_failing_server() -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}
    classified = classify_response(500, headers, b"")
    assert (classified.category, classified.retry_after_s) == (Category.SERVER, None)


def test_the_wording_is_no_wait_where_waiting_does_not_help() -> None:
    body = b'{"error":{"code":"invalid_api_key","message":"fix it and try again in 5s"}}'
    assert classify_response(401, {}, body).retry_after_s is None
