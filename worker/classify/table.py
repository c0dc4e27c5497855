"""Which words, statuses and messages mean which category: the rules as data.

Decided in this order: the first known word, by the rank of the place it stands in; else the HTTP
status; then the refinements, of which the first that fits has the last word. Words are compared
without case, underscores and a final "error": `RateLimitError` is `rate_limit_error` is
`rate_limit`. The sources are the vendors' error pages and the code of their servers.

Never here: a bare 429 or "rate limit" inside a message. Validation errors echo the prompt, and
LiteLLM had to patch just that (#11455).
"""

import re
from collections.abc import Callable

import msgspec

from worker.classify.evidence import Evidence
from worker.classify.waits import header_wait_s
from worker.errors import Category, UpstreamError

TRANSIENT = frozenset(
    {
        Category.RATE_LIMIT,
        Category.OVERLOADED,
        Category.SERVER,
        Category.TIMEOUT,
        Category.CONFLICT,
        Category.CONNECTION,
        Category.TRUNCATED,
        Category.UNKNOWN,
    }
)
"""The categories another attempt may cure."""

_WORDS = {
    Category.BILLING: """
        insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded
        project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached
        billing billing_not_active exceeded_current_quota enforced_spend_limit_reached arrearage
        insufficient_balance insufficient_credits payment_required usage_not_included""",
    Category.AUTH: """
        invalid_api_key api_key_invalid authentication invalid_authentication unauthenticated
        unauthorized forbidden incorrect_api_key permission permission_denied access_denied
        account_deactivated unsupported_country_region_territory""",
    Category.CONTENT_FILTER: """
        content_filter content_policy_violation responsible_ai_policy_violation
        data_inspection_failed invalid_prompt bio_policy""",
    Category.CONTEXT_LENGTH: """
        context_length_exceeded exceed_context_size context_window_exceeded""",
    Category.NOT_FOUND: "model_not_found not_found deployment_not_found resource_not_found",
    Category.REQUEST_TOO_LARGE: "request_too_large",
    Category.RATE_LIMIT: """
        rate_limit rate_limit_exceeded rate_limited rate_limit_reached 1300 slow_down requests
        tokens input_tokens output_tokens limit_requests limit_burst_rate throttling
        too_many_requests resource_exhausted""",
    Category.OVERLOADED: """
        overloaded server_is_overloaded server_overloaded model_overloaded engine_overloaded
        service_unavailable unavailable resource_unavailable capacity_exceeded 3505
        insufficient_system_resource""",
    Category.TIMEOUT: """
        timeout request_timeout gateway_timeout deadline_exceeded vector_store_timeout""",
    Category.CONFLICT: "conflict aborted",
    Category.SERVER: """
        server api internal internal_server provider_disconnected generation unexpected_output
        incomplete_generation incomplete_generation_stream stream_serialization data_loss""",
    Category.BAD_REQUEST: """
        invalid_request bad_request invalid_argument invalid_parameter failed_precondition
        out_of_range unimplemented not_supported unprocessable_entity validation template_error
        tool_error unsupported_value unsupported_parameter unknown_parameter invalid_value
        missing_required_parameter string_above_max_length decimal_above_max_value
        data_residency_mismatch""",
}

_STATUSES = {
    **dict.fromkeys((401, 403), Category.AUTH),
    402: Category.BILLING,
    **dict.fromkeys((404, 410), Category.NOT_FOUND),
    # nginx's 499 and Google's CANCELLED: the request was broken off somewhere, not refused.
    **dict.fromkeys((424, 499), Category.SERVER),
    **dict.fromkeys((408, 504, 522, 524), Category.TIMEOUT),
    **dict.fromkeys((409, 425), Category.CONFLICT),
    413: Category.REQUEST_TOO_LARGE,
    429: Category.RATE_LIMIT,
    **dict.fromkeys((498, 529), Category.OVERLOADED),
    501: Category.BAD_REQUEST,
}


class HostProfile(msgspec.Struct, frozen=True):
    """Where one vendor means something else by a word or a status than all others."""

    kind: str
    domains: tuple[str, ...]
    words: dict[str, Category] = {}
    statuses: dict[int, Category] = {}


_HOST_PROFILES = (
    # A per-minute limit in OpenAI's billing words; it clears within the minute.
    HostProfile("dashscope", ("aliyuncs.com",), words={"insufficientquota": Category.RATE_LIMIT}),
    # Input plus max_tokens exceed the context; nothing about the key.
    HostProfile(
        "together", ("together.ai", "together.xyz"), statuses={403: Category.CONTEXT_LENGTH}
    ),
    # Account suspended.
    HostProfile("fireworks", ("fireworks.ai",), statuses={412: Category.BILLING}),
    # gemini-cli counts 499 like 429.
    HostProfile("gemini", ("googleapis.com",), statuses={499: Category.RATE_LIMIT}),
)
_NO_PROFILE = HostProfile("", ())


class Refinement(msgspec.Struct, frozen=True):
    """A second look at errors of certain categories.

    Attributes:
        among: the categories it may overrule.
        fits: the test.
        category: what the error is, if it fits.
        code: the name for it, where the upstream has no `code` of its own.
    """

    among: frozenset[Category]
    fits: Callable[[Evidence], bool]
    category: Category
    code: str | None = None


def _says(pattern: str) -> Callable[[Evidence], bool]:
    compiled = re.compile(pattern, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    return lambda evidence: compiled.search(evidence.text[:20_000]) is not None


def _names_a_day_quota(evidence: Evidence) -> bool:
    """google.rpc.QuotaFailure; the RetryInfo beside it says 20 s and lies (gemini-cli)."""
    return any(re.search("PerDay|Daily", quota_id) for quota_id in evidence.quota_ids)


def _is_payable_later(evidence: Evidence) -> bool:
    """A 402 with Retry-After is a matter of waiting (OpenRouter's, for credit that requests in
    flight have merely reserved), unless a word says more than the status does.

    That limit's own name says most, whatever word of billing stands beside it.
    """
    if evidence.status != 402 or header_wait_s(evidence.headers) is None:
        return False
    if evidence.metadata.get("limit_source") == "openrouter_in_flight_budget":
        return True
    words = {_folded(word) for word in evidence.words.values()} - {_NAME_OF_402}
    return all(category_of(word) is not Category.BILLING for word in words)


def _was_moderated(evidence: Evidence) -> bool:
    return bool(evidence.metadata.get("reasons") or evidence.metadata.get("flagged_input"))


def _says_under_200(pattern: str) -> Callable[[Evidence], bool]:
    """`_says`, where no status says anything either: in a stream, or in its place."""
    fits = _says(pattern)
    return lambda evidence: evidence.status < 400 and fits(evidence)


_UNSPECIFIC = frozenset({Category.BAD_REQUEST, Category.SERVER, Category.UNKNOWN})
_THROTTLED = frozenset({Category.RATE_LIMIT})

_REFINEMENTS = (
    Refinement(
        _THROTTLED,
        _says(r"request too large for .{0,500}limit:? \d+.{0,100}requested:? \d+"),
        Category.REQUEST_TOO_LARGE,
    ),
    Refinement(_THROTTLED, lambda evidence: evidence.status == 413, Category.REQUEST_TOO_LARGE),
    Refinement(_THROTTLED, _names_a_day_quota, Category.QUOTA_PERIOD),
    Refinement(_THROTTLED, _says(r"\blimit: ?0(?!\d|\.\d)"), Category.QUOTA_PERIOD),
    Refinement(
        frozenset({Category.BILLING}), _says(r"error-code#token-limit"), Category.RATE_LIMIT
    ),
    Refinement(frozenset({Category.BILLING}), _is_payable_later, Category.RATE_LIMIT),
    Refinement(frozenset({Category.AUTH}), _was_moderated, Category.CONTENT_FILTER),
    Refinement(
        _THROTTLED | {Category.SERVER, Category.UNKNOWN},
        _says(
            r"capacity exceeded|\bcurrently overloaded|maximum pending requests exceeded"
            r"|\b(?:model|engine|server|service) (?:is )?overloaded|\A\s*overloaded\s*\Z"
        ),
        Category.OVERLOADED,
    ),
    # Mistral writes `invalid_request_error` on it, which without a status beside it decides. Only
    # at the beginning: further on a message may quote the prompt.
    Refinement(
        frozenset({Category.BAD_REQUEST}),
        _says_under_200(r"\A\s*[\w ]{0,40}(?:capacity exceeded|is (?:currently )?overloaded)\b"),
        Category.OVERLOADED,
    ),
    Refinement(
        _UNSPECIFIC | {Category.REQUEST_TOO_LARGE},
        _says(
            r"maximum context length|exceeds the available context size|prompt is too long: \d"
            r"|\Alitellm\.ContextWindowExceededError|exceeds? (?:the )?context (?:limit|window)"
            r"|input token count .{0,80}exceeds the maximum|`inputs` tokens \+ `max_new_tokens`"
        ),
        Category.CONTEXT_LENGTH,
        code="context_length_exceeded",
    ),
    Refinement(
        _UNSPECIFIC, _says(r"\Alitellm\.ContentPolicyViolationError"), Category.CONTENT_FILTER
    ),
    # TGI in a stream gives nothing but the message (text-generation-inference, infer/mod.rs).
    Refinement(
        frozenset({Category.UNKNOWN}),
        _says(r"\A(?:request failed during generation|incomplete generation)"),
        Category.SERVER,
    ),
    Refinement(
        frozenset({Category.UNKNOWN}),
        _says(r"\A(?:input validation|template|tool) error"),
        Category.BAD_REQUEST,
    ),
)


def is_transient(error: UpstreamError) -> bool:
    """Whether another attempt may succeed; `x-should-retry` knows better than the category."""
    if error.should_retry is not None:
        return error.should_retry
    return error.category in TRANSIENT


def decide(evidence: Evidence) -> tuple[Category, str | None]:
    """The category of an error, and a name for it where the upstream gave none."""
    category = _first_look(evidence)
    for refinement in _REFINEMENTS:
        if category in refinement.among and refinement.fits(evidence):
            return refinement.category, refinement.code
    return category, None


def category_of(word: str) -> Category | None:
    """What a word of an upstream means; `Throttling.RateQuota` is read as `Throttling`."""
    return _BY_WORD.get(_folded(word)) or _BY_WORD.get(_folded(word.partition(".")[0]))


def spelled(word: str) -> str | None:
    """An upstream's word as the table spells it; None where it is not in there."""
    return _SPELLED.get(_folded(word)) or _SPELLED.get(_folded(word.partition(".")[0]))


def _first_look(evidence: Evidence) -> Category:
    profile = _profile(evidence.host)
    by_word = _by_word(evidence, profile)
    by_status = profile.statuses.get(evidence.status) or _by_status(evidence.status)
    if by_word is None or _yields(by_word, by_status):
        return by_status
    return by_word


def _by_word(evidence: Evidence, profile: HostProfile) -> Category | None:
    words = (evidence.words or evidence.provider_words).values()
    known = (profile.words.get(_folded(word)) or category_of(word) for word in words)
    return next(filter(None, known), None)


def _yields(by_word: Category, by_status: Category) -> bool:
    """`invalid_request_error` and `server_error` are what vendors write on anything (OpenAI on
    401, Mistral on 429 and 503): a status that says more, says it."""
    if by_word is Category.BAD_REQUEST:
        return by_status not in (Category.BAD_REQUEST, Category.UNKNOWN)
    return by_word is Category.SERVER and by_status not in _UNSPECIFIC


def _by_status(status: int) -> Category:
    if status in _STATUSES:
        return _STATUSES[status]
    if 500 <= status <= 599:
        return Category.SERVER
    # A redirect is not followed: the address is wrong, for every attempt.
    if 300 <= status <= 399:
        return Category.NOT_FOUND
    return Category.BAD_REQUEST if 400 <= status <= 499 else Category.UNKNOWN


def _profile(host: str) -> HostProfile:
    name = host.partition(":")[0]
    for profile in _HOST_PROFILES:
        if name == profile.kind or f".{name}".endswith(tuple(f".{d}" for d in profile.domains)):
            return profile
    return _NO_PROFILE


def _folded(word: str) -> str:
    return re.sub(r"[\s_-]|error$", "", word.strip().lower())


_NAME_OF_402 = _folded("payment_required")
_BY_WORD = {_folded(word): category for category, words in _WORDS.items() for word in words.split()}
_SPELLED = {_folded(word): word for words in _WORDS.values() for word in words.split()}
