"""Whatever an upstream answers, the category, the code and the wait are the right ones."""

import json

import pytest

from worker.classify import (
    classify_event,
    classify_finish,
    classify_response,
    is_transient,
)
from worker.errors import Category, UpstreamError


def answered(status: int, document: object, host: str = "", **headers: str) -> UpstreamError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify_response(status, named, json.dumps(document).encode(), host=host)


LONG_CONTEXT = "This model's maximum context length is 4096 tokens. However, you requested 9000."
TOO_LARGE = (
    "Request too large for gpt-4o in organization org-x on tokens per min (TPM): "
    "Limit 30000, Requested 41337. The input or output tokens must be reduced."
)


MISTRALS_CAPACITY = {
    "object": "error",
    "message": "Service tier capacity exceeded for this model.",
    "type": "invalid_request_error",
    "param": None,
    "code": None,
}


def error(message: object = "x", **fields: object) -> dict[str, object]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "document", "category", "code"),
    [
        # OpenAI
        (400, error(type="invalid_request_error", code="context_length_exceeded"),
         "context_length", "context_length_exceeded"),
        (400, error(type="invalid_request_error", code="content_policy_violation"),
         "content_filter", "content_policy_violation"),
        (400, error(type="invalid_request_error", code="billing_hard_limit_reached"),
         "billing", "billing_hard_limit_reached"),
        (400, error(type="invalid_request_error", param="service_tier"),
         "bad_request", "invalid_request_error"),
        (401, error("Your IP is not authorized", type="invalid_request_error"),
         "auth", "invalid_request_error"),
        (403, error(code="unsupported_country_region_territory"),
         "auth", "unsupported_country_region_territory"),
        (404, error(type="invalid_request_error", code="model_not_found"),
         "not_found", "model_not_found"),
        (429, error(TOO_LARGE, type="tokens", code="rate_limit_exceeded"),
         "request_too_large", "rate_limit_exceeded"),
        (413, error(type="tokens", code="rate_limit_exceeded"),
         "request_too_large", "rate_limit_exceeded"),
        (429, error(type="insufficient_quota"), "billing", "insufficient_quota"),
        (429, error(type="insufficient_quota", code="organization_spend_limit_exceeded"),
         "billing", "organization_spend_limit_exceeded"),
        (429, error(code="project_spend_limit_exceeded"),
         "billing", "project_spend_limit_exceeded"),
        (429, error(type="tokens"), "rate_limit", "tokens"),
        (503, error(type="service_unavailable_error", code="server_is_overloaded"),
         "overloaded", "server_is_overloaded"),
        (503, error("That model is currently overloaded with other requests.",
                    type="server_error"), "overloaded", "server_error"),
        (400, error(code="invalid_prompt"), "content_filter", "invalid_prompt"),
        # Azure
        (403, {"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}},
         "content_filter", "ResponsibleAIPolicyViolation"),
        (400, error(code="BadRequest", innererror={"code": "ResponsibleAIPolicyViolation"}),
         "content_filter", "ResponsibleAIPolicyViolation"),
        (404, error(code="DeploymentNotFound"), "not_found", "DeploymentNotFound"),
        (401, {"statusCode": 401, "message": "Access denied"}, "auth", None),
        (429, error(code="RateLimitReached"), "rate_limit", "RateLimitReached"),
        # Anthropic
        (402, {"type": "error", "error": {"type": "billing_error"}}, "billing", "billing_error"),
        (413, {"type": "error", "error": {"type": "request_too_large"}},
         "request_too_large", "request_too_large"),
        (529, {"type": "error", "error": {"type": "overloaded_error"}},
         "overloaded", "overloaded_error"),
        (400, error("prompt is too long: 210000 tokens > 200000 maximum",
                    type="invalid_request_error"), "context_length", "context_length_exceeded"),
        # Google
        (400, [error(code=400, status="INVALID_ARGUMENT")], "bad_request", "INVALID_ARGUMENT"),
        (400, [error(code=400, status="INVALID_ARGUMENT", details=[
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}])],
         "auth", "API_KEY_INVALID"),
        (403, [error(code=403, status="PERMISSION_DENIED")], "auth", "PERMISSION_DENIED"),
        (504, [error(code=504, status="DEADLINE_EXCEEDED")], "timeout", "DEADLINE_EXCEEDED"),
        (500, [error(code=500, status="INTERNAL")], "server", "INTERNAL"),
        # Mistral
        (503, {"object": "error", "message": "Service tier capacity exceeded for this model.",
               "type": "invalid_request_error", "code": "3505"}, "overloaded", "3505"),
        (401, {"detail": "Unauthorized"}, "auth", None),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "too big", "type": "value_error"}]},
         "bad_request", None),
        (200, MISTRALS_CAPACITY, "overloaded", "invalid_request_error"),
        (503, MISTRALS_CAPACITY, "overloaded", "invalid_request_error"),
        # DeepSeek, DashScope, Moonshot
        (402, error("Insufficient Balance", type="unknown_error", code="invalid_request_error"),
         "billing", "invalid_request_error"),
        (429, {"code": "Throttling.AllocationQuota", "message": "x", "request_id": "r"},
         "rate_limit", "Throttling.AllocationQuota"),
        (429, error("see https://x/error-code#token-limit", code="insufficient_quota"),
         "rate_limit", "insufficient_quota"),
        (429, error(code="limit_burst_rate"), "rate_limit", "limit_burst_rate"),
        (429, error(type="exceeded_current_quota_error"),
         "billing", "exceeded_current_quota_error"),
        (429, error(type="rate_limit_reached_error"), "rate_limit", "rate_limit_reached_error"),
        (401, error(type="incorrect_api_key_error"), "auth", "incorrect_api_key_error"),
        # Groq
        (498, error(code="capacity_exceeded"), "overloaded", "capacity_exceeded"),
        (498, {}, "overloaded", None),
        # OpenRouter
        (403, error(code=403, metadata={"reasons": ["violence"]}), "content_filter", "403"),
        (403, error(code=403), "auth", "403"),
        (400, error("Provider returned error", code=400, metadata={
            "raw": '{"error":{"code":"context_length_exceeded"}}'}),
         "context_length", "context_length_exceeded"),
        (400, error("Provider returned error", code=400, metadata={"raw": LONG_CONTEXT}),
         "context_length", "context_length_exceeded"),
        # Together
        (503, error("Engine Overloaded"), "overloaded", None),
        (503, error("Engine overloaded, please retry", type="server_error"),
         "overloaded", "server_error"),
        (503, error("The server is currently overloaded"), "overloaded", None),
        (503, "Engine Overloaded", "overloaded", None),
        # Self-hosted
        (400, error(LONG_CONTEXT, type="BadRequestError", code=400),
         "context_length", "context_length_exceeded"),
        (404, error(type="NotFoundError", code=404), "not_found", "NotFoundError"),
        (400, error(type="exceed_context_size_error", code=400),
         "context_length", "exceed_context_size_error"),
        (503, error("Loading model", type="unavailable_error", code=503),
         "overloaded", "unavailable_error"),
        (501, error(type="not_supported_error", code=501), "bad_request", "not_supported_error"),
        (503, error("server busy, please try again.  maximum pending requests exceeded",
                    type="api_error"), "overloaded", "api_error"),
        (429, {"error": "Model is overloaded", "error_type": "overloaded"},
         "overloaded", "overloaded"),
        (424, {"error": "Request failed during generation", "error_type": "generation"},
         "server", "generation"),
        (422, {"error": "Input validation error", "error_type": "validation"},
         "bad_request", "validation"),
        (400, error("litellm.ContextWindowExceededError: x", type="None", code="400"),
         "context_length", "context_length_exceeded"),
        (400, error("litellm.ContentPolicyViolationError: x", type=None, code="400"),
         "content_filter", "400"),
        # Words by status alone
        (409, error(code="null", type="None"), "conflict", None),
        (425, {}, "conflict", None),
        (522, {}, "timeout", None),
        (520, {}, "server", None),
        (418, {}, "bad_request", None),
        (302, {}, "not_found", None),
        # A generic type yields to a status that says more; another type does not
        (429, error(type="server_error"), "rate_limit", "server_error"),
        (500, error(type="overloaded_error"), "overloaded", "overloaded_error"),
        # Never by what a validation error echoes
        (400, error("rate limit 429 capacity exceeded, limit: 0", type="invalid_request_error"),
         "bad_request", "invalid_request_error"),
        (422, error("try again in 5s: model is overloaded"), "bad_request", None),
    ],
)  # fmt: skip
def test_an_error_response_means(
    status: int, document: object, category: str, code: str | None
) -> None:
    classified = answered(status, document)
    assert (classified.category.value, classified.code) == (category, code)


@pytest.mark.parametrize(
    ("document", "category", "code"),
    [
        (error(code=500, type="InternalServerError"), "server", "InternalServerError"),
        (error(code=429), "rate_limit", "429"),
        (error(code="503"), "server", "503"),
        (error(code=401, type="invalid_request_error"), "auth", "invalid_request_error"),
        (error("Model is overloaded", http_status_code=422), "overloaded", None),
        (error("Request failed during generation: CUDA", http_status_code=422), "server", None),
        (error("Input validation error: x", http_status_code=422), "bad_request", None),
        (error("strange", http_status_code=422), "unknown", None),
        ({"error": "no idea"}, "unknown", None),
        ({"object": "error", "message": LONG_CONTEXT, "type": "BadRequestError", "code": 400},
         "context_length", "context_length_exceeded"),
        ({"choices": [], "x_groq": {"error": "over capacity"}}, "unknown", None),
        (error(code="rate_limit", type="rate_limit"), "rate_limit", "rate_limit"),
        (MISTRALS_CAPACITY, "overloaded", "invalid_request_error"),
        (error("Service tier capacity exceeded for this model.", type="invalid_request_error"),
         "overloaded", "invalid_request_error"),
        (error("The model is currently overloaded", type="invalid_request_error"),
         "overloaded", "invalid_request_error"),
        (error("Invalid content: 'capacity exceeded'", type="invalid_request_error"),
         "bad_request", "invalid_request_error"),
        (error("Service tier capacity exceeded", type="invalid_request_error", code=400),
         "bad_request", "invalid_request_error"),
    ],
)  # fmt: skip
def test_an_error_inside_a_stream_means(document: object, category: str, code: str | None) -> None:
    classified = classify_event(document)
    assert (classified.category.value, classified.code) == (category, code)
    assert classified.status == 200


@pytest.mark.parametrize(
    ("host", "status", "document", "category"),
    [
        ("dashscope-intl.aliyuncs.com", 429, error(code="insufficient_quota"), "rate_limit"),
        ("dashscope", 429, error(type="insufficient_quota"), "rate_limit"),
        ("api.openai.com", 429, error(code="insufficient_quota"), "billing"),
        ("api.together.xyz", 403, error(type="invalid_request_error"), "context_length"),
        ("together", 403, error(code="invalid_api_key"), "auth"),
        ("together.example.org", 403, error(), "auth"),
        ("API.Fireworks.ai:443", 412, error(), "billing"),
        ("localhost", 412, error(), "bad_request"),
        ("generativelanguage.googleapis.com", 499, error(), "rate_limit"),
        ("api.groq.com", 499, error(), "server"),
    ],
)
def test_some_hosts_mean_something_of_their_own(
    host: str, status: int, document: object, category: str
) -> None:
    assert answered(status, document, host=host).category.value == category


def test_a_day_quota_is_a_quota_period_whatever_the_retry_info_says() -> None:
    google_rpc = "type.googleapis.com/google.rpc."
    classified = answered(
        429,
        [
            error(
                "You exceeded your current quota. Please retry in 20s.",
                code=429,
                status="RESOURCE_EXHAUSTED",
                details=[
                    {
                        "@type": google_rpc + "QuotaFailure",
                        "violations": [{"quotaId": "GenerateRequestsPerDayPerProject-FreeTier"}],
                    },
                    {"@type": google_rpc + "RetryInfo", "retryDelay": "20s"},
                ],
            )
        ],
    )
    assert classified.category is Category.QUOTA_PERIOD
    assert classified.retry_after_s is None


@pytest.mark.parametrize("limit", ["limit: 5", "limit: 0.5", "limit: 05"])
def test_a_limit_above_zero_is_no_quota_period(limit: str) -> None:
    assert answered(429, error(limit)).category is Category.RATE_LIMIT


def test_a_402_without_a_wait_is_billing_even_in_flight() -> None:
    document = error(code=402, metadata={"limit_source": "openrouter_in_flight_budget"})
    assert answered(402, document).category is Category.BILLING
    assert answered(402, document, retry_after="nan").category is Category.BILLING
    named = error(code="insufficient_credits")
    assert answered(402, named, retry_after="3").category is Category.BILLING


@pytest.mark.parametrize("code", [402, "402", "insufficient_credits", "insufficient_quota"])
@pytest.mark.parametrize("type_", [None, "billing_error", "payment_required", "invalid_request"])
def test_a_402_for_what_requests_in_flight_have_reserved_is_a_matter_of_waiting(
    code: object, type_: object
) -> None:
    document = error(
        code=code, type=type_, metadata={"limit_source": "openrouter_in_flight_budget"}
    )
    classified = answered(402, document, retry_after="3")
    assert (classified.category, classified.retry_after_s) == (Category.RATE_LIMIT, 3.0)
    assert answered(402, document).category is Category.BILLING


@pytest.mark.parametrize(
    ("document", "category"),
    [
        ({}, Category.RATE_LIMIT),
        (error(), Category.RATE_LIMIT),
        (error(code="payment_required"), Category.RATE_LIMIT),
        (error(code="payment_required", type="billing_error"), Category.BILLING),
        (error(type="insufficient_quota"), Category.BILLING),
        (error(code=402, metadata={"limit_source": "account"}), Category.RATE_LIMIT),
    ],
)
def test_a_402_with_a_wait_is_billing_only_where_a_word_says_so(
    document: object, category: Category
) -> None:
    assert answered(402, document, retry_after="3").category is category


@pytest.mark.parametrize("body", [b"<!doctype html><title>Log in</title>", b"", b'{"a":1}'])
def test_a_200_that_is_neither_stream_nor_error_is_no_event_stream(body: bytes) -> None:
    classified = classify_response(200, {"content-type": "text/html"}, body)
    assert classified.category is Category.NOT_EVENT_STREAM
    assert not is_transient(classified)


def test_an_error_document_under_200_is_classified_by_its_own_words() -> None:
    classified = answered(200, error(code=429))
    assert (classified.category, classified.status) == (Category.RATE_LIMIT, 200)


def test_an_html_page_is_reported_by_its_title() -> None:
    page = b"<html><head><title>502 Bad Gateway</title></head></html>"
    assert classify_response(502, {}, page).message == "502 Bad Gateway"


@pytest.mark.parametrize(
    ("headers", "document", "request_id"),
    [
        ({"X-Request-Id": "req_h"}, error(), "req_h"),
        ({"request-id": "req_a"}, {**error(), "request_id": "req_b"}, "req_a"),
        ({}, {"type": "error", "error": {"type": "api_error"}, "request_id": "req_b"}, "req_b"),
        ({}, error(), None),
    ],
)
def test_the_request_id_is_kept(
    headers: dict[str, str], document: object, request_id: str | None
) -> None:
    body = json.dumps(document).encode()
    assert classify_response(500, headers, body).request_id == request_id


@pytest.mark.parametrize(
    ("status", "value", "transient"),
    [(400, "true", True), (503, "false", False), (503, "perhaps", True), (400, "", False)],
)
def test_x_should_retry_overrides_the_category(status: int, value: str, transient: bool) -> None:
    assert is_transient(classify_response(status, {"X-Should-Retry": value}, b"")) is transient


@pytest.mark.parametrize(
    ("finish_reason", "native", "category"),
    [
        ("error", None, Category.TRUNCATED),
        ("abort", None, Category.TRUNCATED),
        ("insufficient_system_resource", None, Category.OVERLOADED),
        ("stop", "network_error", Category.TRUNCATED),
        ("stop", "error", Category.TRUNCATED),
    ],
)
def test_a_finish_reason_may_be_a_failure(
    finish_reason: str, native: str | None, category: Category
) -> None:
    classified = classify_finish(finish_reason, native)
    assert classified is not None
    assert (classified.category, classified.status) == (category, 200)
    assert is_transient(classified)


@pytest.mark.parametrize(
    "finish_reason",
    ["stop", "length", "tool_calls", "content_filter", "eos", "sensitive", "", None],
)
def test_every_other_finish_reason_is_an_end(finish_reason: str | None) -> None:
    assert classify_finish(finish_reason) is None
