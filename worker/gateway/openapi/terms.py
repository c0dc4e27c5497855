"""What a route can be said to take and to answer: the terms that operations are described in."""

from collections.abc import Mapping

from msgspec import Struct

from worker.access import Scope
from worker.gateway.listing import LISTED, MOST_LISTED
from worker.gateway.openapi.schemas import TEXT, Schema, ref

JSON, EVENTS, HTML = "application/json", "text/event-stream", "text/html"
FORM, BYTES = "multipart/form-data", "application/octet-stream"
READ, WRITE = Scope.READ.value, Scope.WRITE.value
# Every operation with a key, with a body, and with an id in its path can answer these.
KEYED, WITH_BODY, WITH_ID = (401, 403, 429, 503), (400, 408, 413, 415), (404,)
MEANINGS: Mapping[int, str] = {
    400: "A field, a parameter or a header is not what it should be; the message names it.",
    401: "No API key, or none that stands.",
    403: "The key lacks the scope, or may not use the model.",
    404: "There is none, or it is another tenant's.",
    408: "The body took too long.",
    409: "The job's state, or another request under this key, does not allow it.",
    413: "The body is too large.",
    415: "The body is of another type, or is compressed.",
    429: "Too many requests, or too many jobs that wait; `retry-after` says when to come again.",
    502: "The upstream failed, and what could be retried was.",
    503: "The database or the storage does not answer, or the server ends; `retry-after`.",
    504: "The upstream, or the job's deadline, ran out of time.",
}


class Parameter(Struct, frozen=True):
    """A parameter of the query, a header, or a part of the path."""

    place: str
    name: str
    schema: Schema
    meaning: str
    required: bool = False


class Answer(Struct, frozen=True):
    """A good answer: its body's schema by content type; none where it has no body."""

    meaning: str
    content: Mapping[str, Schema] = {}


class Operation(Struct, frozen=True, kw_only=True):
    """What one method of one path does.

    Attributes:
        scope: the scope a key needs; None where no key is needed.
        body: the schemas of the body, of which it is one; none where there is no body.
        body_type: the content type of the body.
        errors: statuses beside those that its kind has anyway.
        upstream: whether it answers with the upstream's own errors, too.
    """

    id: str
    group: str
    summary: str
    answers: Mapping[int, Answer]
    scope: str | None = None
    parameters: tuple[Parameter, ...] = ()
    body: tuple[Schema, ...] = ()
    body_type: str = JSON
    body_required: bool = True
    errors: tuple[int, ...] = ()
    upstream: bool = False

    @property
    def refusals(self) -> list[int]:
        """Every status of an error."""
        found = set(self.errors)
        found.update(KEYED if self.scope else ())
        found.update(WITH_BODY if self.body else ())
        found.update(WITH_ID if any(each.place == "path" for each in self.parameters) else ())
        return sorted(found)


def path_part(name: str, meaning: str) -> Parameter:
    """A parameter that is a part of the path."""
    return Parameter("path", name, TEXT, meaning, required=True)


def in_json(meaning: str, kind: str) -> Answer:
    """A good answer in JSON, of a kind among the components."""
    return Answer(meaning, {JSON: ref(kind)})


LIMIT = Parameter(
    "query", "limit", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": LISTED},
    "How many at most.",
)  # fmt: skip
