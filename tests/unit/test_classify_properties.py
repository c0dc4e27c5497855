"""Nothing an upstream can send makes the classifier raise, or name an impossible wait."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.classify import classify_event, classify_finish, classify_response, error_in
from worker.errors import Category, UpstreamError

WORDS = st.sampled_from(
    ["insufficient_quota", "None", "null", "", "429", "error", "RESOURCE_EXHAUSTED", "tokens"]
)
NAMES = st.sampled_from(
    [
        "error",
        "message",
        "code",
        "type",
        "status",
        "details",
        "metadata",
        "raw",
        "headers",
        "innererror",
        "error_code",
        "@type",
        "retryDelay",
        "violations",
        "quotaId",
        "detail",
        "choices",
        "x_groq",
        "object",
        "error_type",
        "request_id",
        "reasons",
        "loc",
        "msg",
    ]
)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=6)
    ),
)
ENCODED = DOCUMENTS.map(json.dumps)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Retry-After",
            "retry-after-ms",
            "date",
            "x-should-retry",
            "x-request-id",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
            "X-RateLimit-Reset",
        ]
    )
    | st.text(),
    st.text()
    | st.floats().map(str)
    | st.integers().map(str)
    | st.datetimes().map(str)
    | st.sampled_from(["Wed, 21 Oct 2026 07:28:00 GMT", "Mon, 01 Jan 0001 00:00:00 +9999", "1h"]),
)


def assert_sound(error: UpstreamError) -> None:
    assert isinstance(error.category, Category)
    wait_s = error.retry_after_s
    assert wait_s is None or (math.isfinite(wait_s) and wait_s > 0)
    assert len(error.message) <= 2_000
    error.message.encode()
    (error.code or "").encode()
    assert error.code != ""


@given(st.integers(), HEADERS, st.binary() | ENCODED.map(str.encode), st.text())
def test_any_response_is_classified(
    status: int, headers: dict[str, str], body: bytes, host: str
) -> None:
    assert_sound(classify_response(status, headers, body, host=host))


@given(DOCUMENTS, st.none() | st.just("error") | st.text(), HEADERS)
def test_any_event_is_classified(
    document: object, event_type: str | None, headers: dict[str, str]
) -> None:
    assert_sound(classify_event(document, event_type, headers=headers))
    if event_type == "error":
        assert error_in(document, event_type) is not None


@given(ENCODED, st.integers(100, 599))
def test_any_message_may_be_a_document(message: str, status: int) -> None:
    assert_sound(classify_event({"error": {"message": message, "code": status}}))


@given(st.none() | st.text(), st.none() | st.text())
def test_any_finish_reason_is_an_end_or_a_failure(reason: str | None, native: str | None) -> None:
    error = classify_finish(reason, native)
    assert error is None or error.code


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"error":' * 100_000,
        b'{"error":{"code":' + b"9" * 5_000 + b"}}",
        b'{"error":{"code":NaN,"message":Infinity}}',
        b"\xef\xbb\xbf" + b'{"error":{"code":"slow_down"}}',
        b"\xff\xfe\x00",
        b"<title>" * 50_000,
        b'{"error":{"message":"' + b"try again in 1" * 50_000 + b'"}}',
    ],
    ids=["deep-list", "deep-object", "long-integer", "nan", "bom", "binary", "html", "waits"],
)
@pytest.mark.timeout(5)
def test_hostile_bodies_are_classified_in_good_time(body: bytes) -> None:
    assert_sound(classify_response(429, {}, body))


def test_a_byte_order_mark_does_not_hide_the_error() -> None:
    body = b"\xef\xbb\xbf" + b'{"error":{"code":"insufficient_quota"}}'
    assert classify_response(429, {}, body).category is Category.BILLING
