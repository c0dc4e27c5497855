"""Transitions of jobs made into lines, by structlog and past the standard library's machinery:
that makes a line of 8 us out of one of 26.
"""

import logging
import re
from datetime import UTC, datetime
from typing import TextIO

import structlog
from structlog.typing import FilteringBoundLogger

from worker.errors import Category
from worker.logs.records import Fields, Line, now, text_line
from worker.transitions import Step, Transition

# The levels of steps; `SETTLING` and `KEPT` have no line, `SPOOLED` has the spool's own.
LEVELS = {
    Step.SUBMITTED: logging.DEBUG,
    Step.CLAIMED: logging.DEBUG,
    Step.STARTED: logging.DEBUG,
    Step.RETRYING: logging.INFO,
    Step.GIVEN_BACK: logging.INFO,
    Step.LOST: logging.INFO,
    Step.SETTLED: logging.INFO,
    Step.RESCUED: logging.WARNING,
}
# Ends of these categories are somebody's work.
ERRORS = (Category.POISON.value, Category.INTERNAL.value)
# What an upstream calls its errors; anything else that comes in the place of a code is text.
_WORD = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class Steps:
    """Writes a line for each transition of the level, or above it."""

    def __init__(self, stream: TextIO, level: int, line: Line) -> None:
        self._level = level
        self._logger: FilteringBoundLogger = structlog.wrap_logger(
            structlog.WriteLogger(stream),
            processors=[_stamped, lambda _logger, _name, fields: line(fields)],
            wrapper_class=structlog.make_filtering_bound_logger(level),
        ).bind()

    def __call__(self, told: Transition) -> None:
        """Write the transition's line."""
        level = LEVELS.get(told.step)
        if told.step is Step.SETTLED and told.job.untouched:
            level = logging.DEBUG  # a row that never began: a cancelled batch has many
        elif told.step is Step.SETTLED and told.job.error_category in ERRORS:
            level = logging.ERROR
        if level is not None and level >= self._level:
            self._logger.log(level, told.step.value, **_fields(told))


def step_line(fields: Fields) -> str:
    """The line for people: `job job_01: completed at attempt 2 (upstream=openai total_s=3.1)`."""
    told = dict(fields)
    time, level, step, job, attempt = (told.pop(name) for name in _SAID)
    what = told.pop("state", None) or str(step).replace("_", " ")
    rest = " ".join(f"{name}={value}" for name, value in told.items() if value is not None)
    sentence = f"job {job}: {what} at attempt {attempt} ({rest})"
    return text_line({"time": time, "level": level, "event": sentence})


_SAID = ("time", "level", "event", "job", "attempt")


def _stamped(_logger: object, level: str, fields: Fields) -> Fields:
    event = fields.pop("event")
    return {"time": now(), "level": level, "event": event, **fields}


def _fields(told: Transition) -> dict[str, object]:
    job, exchange, error = told.job, told.exchange, told.error
    fields: dict[str, object] = {
        "job": job.id,
        "attempt": job.attempt,
        "lane": job.lane,
        "batch": job.batch_id,
        "upstream": exchange.request.upstream.name if exchange else None,
        "state": job.state if told.step is Step.SETTLED else None,
        "reason": told.reason,
        "wait_s": None if told.wait_s is None else round(told.wait_s, 3),
        "trace": (job.trace_context or {}).get("traceparent", "")[3:35] or None,
    }
    if error is not None:
        fields |= {"category": error.category.value, "code": _word(error.code)}
        fields["status"] = error.status
    elif told.step is Step.SETTLED:
        fields |= {"category": job.error_category, "code": _word(job.error_code)}
    return fields | _durations(told)


def _durations(told: Transition) -> dict[str, object]:
    """Seconds: of the attempt, to its first delta, and of the job from submit to end."""
    exchange, at = told.exchange, datetime.now(UTC)
    durations: dict[str, object] = {}
    if exchange is not None and (began := exchange.started_at) is not None:
        durations["attempt_s"] = round((at - began).total_seconds(), 3)
        if exchange.first_delta_at is not None:
            durations["first_delta_s"] = round((exchange.first_delta_at - began).total_seconds(), 3)
    if told.step is Step.SETTLED:
        # By two clocks, the database's and ours, where they differ; the row is exact.
        durations["total_s"] = max(round((at - told.job.created_at).total_seconds(), 3), 0.0)
    return durations


def _word(code: str | None) -> str | None:
    return code if code is None or _WORD.fullmatch(code) else "other"
