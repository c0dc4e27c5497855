"""Every error of the project, in one tree.

DeltaworksError
├── InvalidRequest        the caller's request: names the field, the value and the remedy
│   ├── ModelNotServed    no configured upstream serves the model it names
│   ├── Unsupported       a parameter, or a value of it, that a chat has no form for
│   └── Unknown           a parameter that there is not
├── Conflict              the same id or idempotency key with another request
├── NotFound              no such thing
│   ├── JobNotFound       no job has this id
│   ├── BatchNotFound     no batch has it
│   └── FileNotFound      no file has it
├── InvalidCursor         a cursor that no reader of this job can have got
├── ConfigurationError    a setting, or two that do not go together
├── SchemaOutdated        the database lacks a migration; carries the command that mends it
├── EngineFailed          an embedded server did not start
├── StoreAway             the database does not answer, or cannot write, for now
├── ChannelAway           Redis does not answer for now, and nothing else can stand in for it
├── StorageAway           the files' storage does not answer, or cannot write, for now
├── Unauthorized          nobody we know has sent this request
├── Denied                this key may not do that
├── Throttled             too many requests, or too many jobs that wait: come again later
├── ServerEnds            this gateway is about to end: ask another, or again
├── HoldLost              a higher attempt exists: this process may neither publish nor save
├── HoldOver              the process ends: the job is to be given back
└── UpstreamError         what went wrong at the upstream, classified
"""

from enum import StrEnum


class DeltaworksError(Exception):
    """The root: `except DeltaworksError` catches whatever this project raises on purpose."""


class InvalidRequest(DeltaworksError):
    """A request that can never run, with the field at fault and what to write instead.

    `value` is shown shortened; it is never a prompt (callers pass the type of long values).
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem}; {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy


class ModelNotServed(InvalidRequest):
    """No configured upstream serves the model that the request names."""


class Unsupported(InvalidRequest):
    """A parameter, or a value of one, that chat completions have no form for."""

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(field, f"{problem}, which is not supported", remedy)


class Unknown(InvalidRequest):
    """A parameter that the endpoint does not have."""


class Conflict(DeltaworksError):
    """The id or idempotency key belongs to a job with another request."""


class NotFound(DeltaworksError):
    """There is no such thing, or none that is to be seen."""


class JobNotFound(NotFound):
    """No job has this id."""


class BatchNotFound(NotFound):
    """No batch has this id."""


class FileNotFound(NotFound):
    """No file has this id."""


class InvalidCursor(DeltaworksError):
    """A cursor that is malformed or lies beyond what the job has published."""


class ConfigurationError(DeltaworksError):
    """A setting, or a combination of settings, that cannot work. The sentence names it."""


class SchemaOutdated(DeltaworksError):
    """The database lacks a migration this version needs."""


class EngineFailed(DeltaworksError):
    """An embedded server could not be started or reached."""


class StoreAway(DeltaworksError):
    """The database does not answer, or cannot write, for now.

    `unsure` where what was asked of it may have been carried out all the same: a connection that
    breaks at a commit does not say. To ask the same again is safe.
    """

    def __init__(self, sentence: str, *, unsure: bool = False) -> None:
        super().__init__(sentence)
        self.unsure = unsure


class ChannelAway(DeltaworksError):
    """Redis does not answer for now, where nothing else can stand in for it."""


class StorageAway(DeltaworksError):
    """The storage of files does not answer, or cannot write, for now."""


class Unauthorized(DeltaworksError):
    """No API key, or none that stands."""


class Denied(DeltaworksError):
    """The key lacks a scope, or may not use the model."""


class Throttled(DeltaworksError):
    """Too many requests of a key, or too many queued jobs of a tenant.

    Attributes:
        retry_after_s: seconds after which to come again.
    """

    def __init__(self, sentence: str, retry_after_s: float) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class ServerEnds(DeltaworksError):
    """The gateway is about to end; the cursor resumes at another one, or at the next."""


class HoldLost(DeltaworksError):
    """A higher attempt exists, or the lease can no longer be trusted: stop quietly."""


class HoldOver(DeltaworksError):
    """The process is about to end: what it still holds is given back."""


class Category(StrEnum):
    """What an error means for the job. The strings are contract: database, API, metrics.

    The set and its three groups stand in the design; the rules that lead to each in
    `worker.classify`.
    """

    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    SERVER = "server"
    TIMEOUT = "timeout"
    CONFLICT = "conflict"
    CONNECTION = "connection"
    TRUNCATED = "truncated"
    UNKNOWN = "unknown"

    BILLING = "billing"
    AUTH = "auth"
    QUOTA_PERIOD = "quota_period"

    REQUEST_TOO_LARGE = "request_too_large"
    CONTENT_FILTER = "content_filter"
    CONTEXT_LENGTH = "context_length"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    NOT_EVENT_STREAM = "not_event_stream"

    SUSPENDED = "suspended"
    DEADLINE = "deadline"
    POISON = "poison"
    INTERNAL = "internal"


class UpstreamError(DeltaworksError):
    """What the upstream, or the way to it, did wrong.

    Attributes:
        category: what it means (see `Category`).
        code: the upstream's own word for it (`rate_limit_exceeded`, `"502"`), or None.
        status: the HTTP status of the response; None where there was none. An error that
            arrives inside a stream has the stream's status, 200.
        message: the upstream's own words, keys redacted, shortened to 2,000 characters.
        retry_after_s: seconds the upstream asked to wait; None where it named none.
        request_id: the upstream's id for the request, where it sent one.
        should_retry: the `x-should-retry` header, where it was sent.
    """

    def __init__(
        self,
        category: Category,
        code: str | None = None,
        status: int | None = None,
        message: str = "",
        retry_after_s: float | None = None,
        request_id: str | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(f"{category}: {code or 'no code'}")
        self.category = category
        self.code = code
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.should_retry = should_retry
