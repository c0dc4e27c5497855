"""No key leaves in a message, a code or a request id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.classify import classify_event, classify_exception, classify_response, redact

KEYS = [
    "sk-proj-Ab3dEf6hIj9kLmNoPqRs_tUv-xYz0123456789",
    "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "AIzaSyA1234567890abcdefghijklmnopqrstuvw",
    "xai-0123456789abcdefABCDEF0123456789abcdef",
    "gsk_0123456789abcdefABCDEF0123456789abcdef",
    "hf_0123456789abcdefABCDEFabcdef012345",
    "pplx-0123456789abcdefABCDEF0123456789",
    "nvapi-0123456789abcdefABCDEF0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.SflKxwRJSMeKKF2QT4fwpM",
]
LABELLED = [
    "Bearer {}",
    "bearer {}",
    "authorization: Basic {}",
    "Incorrect API key provided: {}.",
    '{{"api_key": "{}"}}',
    "x-api-key: {}",
    "https://host/v1?key={}&alt=sse",
    "client_secret={}",
    "redis://user:{}@host/0",
]
around = st.text().map(lambda text: text + " ")


@given(before=around, after=around, key=st.sampled_from(KEYS))
def test_a_planted_key_never_survives(before: str, after: str, key: str) -> None:
    text = f"{before}{key} {after}"
    assert key not in redact(text)
    assert key not in classify_event({"error": {"message": text, "code": key}}).message


@given(secret=st.from_regex(r"[A-Za-z0-9]{24,48}", fullmatch=True), form=st.sampled_from(LABELLED))
def test_a_secret_is_known_by_its_label_too(secret: str, form: str) -> None:
    assert secret not in redact(form.format(secret))


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "task-force and risk-free on disk-7",
        "max_tokens: 4096 is too many tokens; the key idea",
        "Rate limit reached for gpt-4o. Please try again in 1.898s.",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


def test_a_message_is_cut_at_2000_characters_and_never_through_a_key() -> None:
    assert len(redact("x" * 5_000)) == 2_000
    assert "sk-" not in redact("x" * 1_990 + " sk-" + "a" * 60)


def test_codes_and_request_ids_are_held_short() -> None:
    classified = classify_response(500, {"x-request-id": "r" * 999}, b'{"error":{"type":"%s"}}')
    assert classified.request_id is not None
    assert len(classified.request_id) == 128
    assert len(classify_event({"error": {"type": "t" * 999}}).code or "") == 128


def test_a_message_can_be_stored_whatever_it_holds() -> None:
    message = classify_event({"error": "a\0b\ud83dc\ud83d\ude00"}).message
    assert message == "a\ufffdb\ufffdc\U0001f600"


def test_a_key_in_an_exception_does_not_survive() -> None:
    leaking = OSError(f"GET https://host/v1?key={KEYS[2]} failed")
    assert KEYS[2] not in classify_exception(leaking, streaming=False).message
