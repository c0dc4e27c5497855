"""The attempts of a job, one row for each request to an upstream."""

from collections.abc import Sequence

from models import Attempt
from worker.cli.summary import first_token_s, tokens, why
from worker.cli.tables import named, print_rows

COLUMNS = ("attempt", "upstream", "began", "seconds", "first token", "characters", "tokens", "end")


def print_attempts(attempts: Sequence[Attempt]) -> None:
    """Print them; nothing where there was none."""
    if attempts:
        rows = [_row(attempt) for attempt in attempts]
        print_rows(COLUMNS, rows, named(COLUMNS, rows))


def _row(attempt: Attempt) -> tuple[str, ...]:
    took_s = (attempt.finished_at - attempt.started_at).total_seconds()
    first_s, count = first_token_s(attempt), tokens(attempt.usage)
    failure = why(attempt.error_category, attempt.error_code, attempt.error_status)
    return (
        str(attempt.number),
        attempt.upstream,
        f"{attempt.started_at.astimezone():%H:%M:%S}",
        f"{took_s:.2f}",
        "" if first_s is None else f"{first_s:.2f}",
        str(attempt.length),
        "" if count is None else str(count),
        failure or attempt.finish_reason or "",
    )
