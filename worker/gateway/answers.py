"""Answers in JSON, and the header that names the job they are about."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

JOB = "x-deltaworks-job"


def json_answer(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """The document as the body of a response."""
    return Response(msgspec.json.encode(document), status, headers, "application/json")
