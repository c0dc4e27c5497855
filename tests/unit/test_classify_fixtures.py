"""The classifier agrees with recorded error responses and streams of known meaning."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.classify import (
    classify_event,
    classify_finish,
    classify_response,
    error_in,
    is_transient,
)
from worker.errors import UpstreamError

FIXTURES = Path(__file__).parent.parent / "fixtures"
RESPONSES = json.loads((FIXTURES / "error_fixtures.json").read_text())["cases"]
STREAMS = json.loads((FIXTURES / "stream_cases.json").read_text())["cases"]
FAILED = [case for case in STREAMS if case["expect"]["outcome"] == "error"]
COMPLETE = [case for case in STREAMS if case["expect"]["outcome"] == "complete"]


def by_id(case: Any) -> str | None:
    return str(case["id"]) if isinstance(case, dict) and "id" in case else None


@pytest.mark.parametrize("case", RESPONSES, ids=by_id)
def test_a_known_error_response_is_classified_as_expected(case: dict[str, Any]) -> None:
    error = classify_response(case["status"], case["headers"], case["body"].encode())
    assert {
        "category": error.category.value,
        "retryable": is_transient(error),
        "wait_s": error.retry_after_s,
        "code": error.code,
    } == case["expect"]


def documents_of(case: dict[str, Any]) -> Iterator[tuple[object, str | None]]:
    """The documents of a stream, by the plainest reading of it: this is no test of a decoder."""
    body = base64.b64decode(case["body_base64"]).decode("utf-8", "replace").strip()
    if body[:1] in ("{", "["):
        yield json.loads(body), None
        return
    for block in re.sub("\r\n?", "\n", body).split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            fields[name] = fields.get(name, "") + value
        data, event_type = fields.get("data", ""), fields.get("event", "").strip()
        if "error" in fields:
            data, event_type = fields["error"], "error"
        if data.strip() and data.strip() != "[DONE]":
            yield json.loads(data), event_type or None


def first_error(case: dict[str, Any]) -> UpstreamError | None:
    for document, event_type in documents_of(case):
        if error_in(document, event_type) is not None:
            return classify_event(document, event_type, headers=case["headers"])
        for choice in document.get("choices") or () if isinstance(document, dict) else ():
            if (error := classify_finish(choice.get("finish_reason"))) is not None:
                return error
    return None


@pytest.mark.parametrize("case", FAILED, ids=by_id)
def test_a_known_error_inside_a_stream_is_classified_as_expected(case: dict[str, Any]) -> None:
    error, expected = first_error(case), case["expect"]
    assert error is not None
    assert error.code == expected["error_code"]
    assert is_transient(error) is expected["retryable"]
    assert error.retry_after_s == expected.get("wait_s")
    assert error.status == case["status"]


@pytest.mark.parametrize("case", COMPLETE, ids=by_id)
def test_a_stream_that_completes_contains_no_error(case: dict[str, Any]) -> None:
    assert first_error(case) is None
