"""The job request: one validation for every way in.

envelope   the job request itself, and what becomes of it
body       the chat-completions body in it
allowed    which models a key may use
values     values as errors may show them
webhook    whom the job's end is told to
"""

from worker.request.allowed import is_allowed, not_allowed, require_allowed
from worker.request.body import MAX_DEPTH, body_of
from worker.request.envelope import (
    ID_PATTERN,
    JobRequest,
    as_response,
    metadata_of,
    rejected,
    validate,
)
from worker.request.values import named, object_of, shown
from worker.request.webhook import WebhookTerms, webhook_of

__all__ = [
    "ID_PATTERN",
    "MAX_DEPTH",
    "JobRequest",
    "WebhookTerms",
    "as_response",
    "body_of",
    "is_allowed",
    "metadata_of",
    "named",
    "not_allowed",
    "object_of",
    "rejected",
    "require_allowed",
    "shown",
    "validate",
    "webhook_of",
]
