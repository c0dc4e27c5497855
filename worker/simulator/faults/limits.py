"""Faults that refuse with a rate limit and name the wait in every place providers name it.

`wait=` sets the seconds, 1 by default.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

from worker.simulator.chunks import encode
from worker.simulator.completion import Completion
from worker.simulator.durations import go_duration
from worker.simulator.faults.fault import Fault
from worker.simulator.faults.refusals import error_body
from worker.simulator.steps import Steps, document

Refusal = tuple[bytes, dict[str, str]]
"""Body and headers of a 429."""


def _openai_body(hint: str = "") -> bytes:
    limit = "Rate limit reached for sim in organization org-simulator on requests per min (RPM)."
    return error_body(f"{limit}{hint}", "requests", "rate_limit_exceeded")


def _none(_wait_s: float) -> Refusal:
    return _openai_body(), {}


def _seconds(wait_s: float) -> Refusal:
    return _openai_body(), {"retry-after": f"{wait_s:g}"}


def _milliseconds(wait_s: float) -> Refusal:
    return _openai_body(), {"retry-after-ms": f"{wait_s * 1000:g}"}


def _date(wait_s: float) -> Refusal:
    now = time.time()
    dates = {
        "date": formatdate(now, usegmt=True),
        "retry-after": formatdate(now + wait_s, usegmt=True),
    }
    return _openai_body(), dates


def _reset(wait_s: float) -> Refusal:
    return _openai_body(), {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": go_duration(wait_s),
        "x-ratelimit-remaining-tokens": "1000",
        "x-ratelimit-reset-tokens": "10h0m0s",
    }


def _anthropic_reset(wait_s: float) -> Refusal:
    reset = datetime.fromtimestamp(time.time() + wait_s, UTC).isoformat().replace("+00:00", "Z")
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"Too many requests."}}'
    return body, {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": reset,
    }


def _epoch(wait_s: float) -> Refusal:
    reset = str(round((time.time() + wait_s) * 1000))
    metadata = {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}}
    error = {"code": 429, "message": "Rate limit exceeded", "metadata": metadata}
    return encode({"error": error}), {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}


def _message(wait_s: float) -> Refusal:
    return _openai_body(f" Please try again in {go_duration(wait_s)}."), {}


def _google(wait_s: float) -> Refusal:
    return _google_body("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", wait_s), {}


def _google_day(wait_s: float) -> Refusal:
    return _google_body("GenerateRequestsPerDayPerProjectPerModel-FreeTier", wait_s), {}


def _google_body(quota: str, wait_s: float) -> bytes:
    package = "type.googleapis.com/google.rpc"
    details = [
        {"@type": f"{package}.QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": f"{package}.RetryInfo", "retryDelay": f"{wait_s:g}s"},
    ]
    message = "You exceeded your current quota, please check your plan and billing details."
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}
    return encode([{"error": error}])


def _garbage(_wait_s: float) -> Refusal:
    return _openai_body(), {"retry-after": "soon"}


def _limit(name: str, where: str, refusal: Callable[[float], Refusal]) -> Fault:
    def refuse(_steps: Steps, completion: Completion) -> Steps:
        wait = completion.plan.wait
        body, headers = refusal(1.0 if wait is None else wait)
        return document(429, body, headers)

    return Fault(name, f"HTTP 429; the wait stands {where}.", refuse, streams_only=False)


LIMITS = (
    _limit("limit-none", "nowhere", _none),
    _limit("limit-seconds", "in retry-after as seconds", _seconds),
    _limit("limit-ms", "in retry-after-ms", _milliseconds),
    _limit("limit-date", "in retry-after as an HTTP date", _date),
    _limit("limit-reset", "in x-ratelimit-reset-requests, with remaining 0", _reset),
    _limit("limit-rfc3339", "in anthropic-ratelimit-requests-reset", _anthropic_reset),
    _limit("limit-epoch", "in x-ratelimit-reset as epoch milliseconds", _epoch),
    _limit("limit-message", "in the words of the message only", _message),
    _limit("limit-google", "in a RetryInfo detail, the body being a list", _google),
    _limit("limit-google-day", "in a RetryInfo detail that a per-day quota belies", _google_day),
    _limit("limit-garbage", "nowhere, for retry-after says soon", _garbage),
)
