"""Faults that answer with an HTTP error status, in the words of the provider they come from."""

from http import HTTPStatus

from worker.simulator.chunks import encode
from worker.simulator.completion import Completion
from worker.simulator.faults.fault import Fault
from worker.simulator.steps import Steps, document

HTML = {"content-type": "text/html"}

# Status to type and code, after OpenAI's error guide; 498 is Groq's, 529 Anthropic's.
_TYPES: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("billing_error", "insufficient_credits"),
    403: ("permission_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    408: ("timeout_error", None),
    409: ("conflict_error", None),
    413: ("request_too_large", None),
    425: ("conflict_error", None),
    429: ("requests", "rate_limit_exceeded"),
    498: ("capacity_exceeded", "capacity_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
    504: ("timeout_error", None),
    522: ("timeout_error", None),
    524: ("timeout_error", None),
    529: ("overloaded_error", "overloaded_error"),
}


def error_body(
    message: str, type_: str | None, code: str | None = None, param: str | None = None
) -> bytes:
    """An error in OpenAI's shape: all four keys, always."""
    return encode({"error": {"message": message, "type": type_, "param": param, "code": code}})


def status_fault(status: int) -> Fault:
    """`status-NNN`: that status in OpenAI's shape, with `retry-after` if `wait=` is given."""

    def refuse(_steps: Steps, completion: Completion) -> Steps:
        fallback = "server_error" if status >= 500 else "invalid_request_error"
        type_, code = _TYPES.get(status, (fallback, None))
        wait = completion.plan.wait
        headers = {} if wait is None else {"retry-after": f"{wait:g}"}
        return document(status, error_body(_phrase(status), type_, code), headers)

    return Fault(f"status-{status}", f"HTTP {status}.", refuse, streams_only=False)


def _phrase(status: int) -> str:
    known = {entry.value: entry.phrase for entry in HTTPStatus}
    return f"Simulated: {known.get(status, f'status {status}')}."


def _auth_required(steps: Steps, completion: Completion) -> Steps:
    if completion.headers.get("authorization", "").startswith("Bearer "):
        return steps
    message = "You didn't provide an API key. Use Authorization: Bearer YOUR_KEY."
    return document(401, error_body(message, "invalid_request_error", "invalid_api_key"))


def _fixed(
    name: str, sentence: str, status: int, body: bytes, headers: dict[str, str] | None = None
) -> Fault:
    return Fault(
        name, sentence, lambda _steps, _completion: document(status, body, headers), True, False
    )


def _openai(name: str, status: int, type_: str | None, code: str, message: str) -> Fault:
    sentence = f"HTTP {status} with code {code}."
    return _fixed(name, sentence, status, error_body(message, type_, code))


_TOO_LARGE = (
    "Request too large for sim in organization org-simulator on tokens per min (TPM): "
    "Limit 12000, Requested 14137. The input or output tokens must be reduced."
)
_CONTEXT = (
    "This model's maximum context length is 4096 tokens. However, your messages resulted in "
    "5000 tokens. Please reduce the length of the messages."
)
_FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management "
    "policy. Please modify your prompt and retry."
)
_QUOTA = "You exceeded your current quota, please check your plan and billing details."

_PLAIN = [
    _openai("insufficient-quota", 429, "insufficient_quota", "insufficient_quota", _QUOTA),
    _openai("credit-exhausted", 429, "insufficient_quota", "credit_balance_exhausted", _QUOTA),
    _openai("request-too-large", 429, "tokens", "rate_limit_exceeded", _TOO_LARGE),
    _openai("slow-down", 429, "rate_limit_error", "slow_down", "Slow down."),
    _openai("context-length", 400, "invalid_request_error", "context_length_exceeded", _CONTEXT),
    _openai(
        "content-policy", 400, "invalid_request_error", "content_policy_violation", "Rejected."
    ),
]

_FOREIGN = [
    _fixed(
        "content-filter",
        "HTTP 400 from Azure's content filter, with an innererror.",
        400,
        encode(
            {
                "error": {
                    "message": _FILTERED,
                    "type": None,
                    "param": "prompt",
                    "code": "content_filter",
                    "status": 400,
                    "innererror": {
                        "code": "ResponsibleAIPolicyViolation",
                        "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
                    },
                }
            }
        ),
    ),
    _fixed(
        "dashscope-quota",
        "HTTP 429 in billing words that clears within a minute (DashScope).",
        429,
        error_body(
            f"{_QUOTA} See error-code#token-limit", "insufficient_quota", "insufficient_quota"
        ),
    ),
    _fixed(
        "anthropic-spend",
        "HTTP 429 rate_limit_error whose details say that the budget is spent (Anthropic).",
        429,
        b'{"type":"error","error":{"type":"rate_limit_error","message":"Spend limit reached.",'
        b'"details":{"error_code":"enforced_spend_limit_reached"}}}',
    ),
    _fixed(
        "mistral-flat",
        "HTTP 429 with a flat body (Mistral).",
        429,
        b'{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,'
        b'"code":"1300","raw_status_code":429}',
    ),
    _fixed(
        "tgi-string",
        "HTTP 429 whose error is a string beside an error_type (TGI).",
        429,
        b'{"error":"Model is overloaded","error_type":"overloaded"}',
    ),
    _fixed(
        "litellm-none",
        "HTTP 429 whose type and param are the string None (LiteLLM proxy).",
        429,
        error_body("litellm.RateLimitError: Try again in 1 seconds.", "None", "429", "None"),
    ),
    _fixed(
        "fastapi-detail",
        "HTTP 422 with a list of details (FastAPI).",
        422,
        b'{"detail":[{"loc":["body","messages"],"msg":"field required","type":"missing"}]}',
    ),
    _fixed(
        "nested-error",
        "HTTP 429 whose message is itself a JSON document with the error (proxies of Gemini).",
        429,
        error_body(
            '{"error":{"code":429,"message":"Resource exhausted.","status":"RESOURCE_EXHAUSTED"}}',
            None,
        ),
    ),
    _fixed(
        "openrouter-raw",
        "HTTP 502 with the provider's own error in metadata.raw (OpenRouter).",
        502,
        b'{"error":{"code":502,"message":"Provider returned error","metadata":{"provider_name":'
        b'"Z","raw":"{\\"error\\":{\\"message\\":\\"overloaded\\",\\"code\\":\\"1305\\"}}"}}}',
    ),
    _fixed(
        "should-not-retry",
        "HTTP 500 with x-should-retry: false.",
        500,
        error_body("Do not retry.", "server_error"),
        {"x-should-retry": "false"},
    ),
    _fixed(
        "should-retry",
        "HTTP 400 with x-should-retry: true.",
        400,
        error_body("Do retry.", "invalid_request_error"),
        {"x-should-retry": "true"},
    ),
    _fixed(
        "html-502",
        "HTTP 502 with a proxy's HTML page.",
        502,
        b"<html><head><title>502 Bad Gateway</title></head></html>",
        HTML,
    ),
    _fixed("empty-500", "HTTP 500 without a body.", 500, b"", {"content-type": "text/plain"}),
]

REFUSALS = (
    *_PLAIN,
    *_FOREIGN,
    Fault(
        "auth-required",
        "HTTP 401 unless an Authorization: Bearer header is sent.",
        _auth_required,
        once=False,
        streams_only=False,
    ),
)
