"""What is said first of a batch, on the page and in the terminal alike."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

from models import OPEN
from worker.batch.report import words
from worker.batch.report.figures import Cause, Figures, RowFigures


class Verdict(StrEnum):
    """How a batch went: every row completed, some did, none did, or it is not over."""

    GOOD = "good"
    PARTLY = "partly"
    BAD = "bad"
    OPEN = "open"


# A sign beside each colour, for those who do not see colours.
SIGNS = {Verdict.GOOD: "✓", Verdict.PARTLY: "!", Verdict.BAD: "✗", Verdict.OPEN: "…"}


class Fact(Struct, frozen=True):
    """One number with its name, and a note that puts it in proportion (or nothing)."""

    name: str
    value: str
    note: str = ""


def verdict(figures: Figures) -> Verdict:
    """How the batch went."""
    if figures.status in OPEN:
        return Verdict.OPEN
    if figures.status == "completed" and figures.completed == figures.total:
        return Verdict.GOOD
    return Verdict.PARTLY if figures.completed else Verdict.BAD


def headline(figures: Figures) -> str:
    """The one sentence of the report."""
    if not figures.total:
        return "The batch has no rows"
    completed, total = words.count(figures.completed), words.counted(figures.total, "row")
    return f"{completed} of {total} completed"


def outcome(figures: Figures) -> str:
    """What became of the other rows, and why no more happens where the batch is paused."""
    open_rows = max(figures.total - figures.completed - figures.failed, 0)
    ended = figures.status not in OPEN
    parts = []
    if figures.failed:
        parts.append(f"{words.counted(figures.failed, 'row')} failed")
    if open_rows:
        left = "did not end" if ended else "to go"
        parts.append(f"{words.counted(open_rows, 'row')} {left}")
    if figures.total and figures.completed == figures.total:
        parts.append("every row completed")
    if figures.pause is not None and not ended:
        parts.append(f"paused: {words.plain(figures.pause)}")
    return ", ".join(parts)


def elapsed(figures: Figures) -> float | None:
    """Seconds from the start to the end, or to the last stretch of a batch that still runs."""
    if figures.began_at is None:
        return None
    if figures.ended_at is not None:
        return (figures.ended_at - figures.began_at).total_seconds()
    if not figures.timeline:
        return None
    return figures.timeline[-1].at_s + figures.stretch_s


def facts(figures: Figures) -> list[Fact]:
    """The numbers that stand beside the headline."""
    ended_rows = figures.completed + figures.failed
    seconds = elapsed(figures)
    tokens = figures.input_tokens + figures.output_tokens
    so_far = "" if figures.ended_at else "so far"
    per_row = f"{figures.attempts / ended_rows:.2f} per ended row" if ended_rows else ""
    return [
        Fact("Status", words.plain(figures.status).replace("_", " ")),
        Fact("Duration", words.duration(seconds), so_far if seconds is not None else ""),
        Fact("Throughput", words.rate(ended_rows, seconds), "completed and failed rows"),
        Fact(
            "Tokens",
            words.count(tokens),
            f"{words.count(figures.input_tokens)} in, {words.count(figures.output_tokens)} out",
        ),
        Fact("Cost", cost(figures), cap(figures)),
        Fact("Attempts", words.count(figures.attempts), per_row),
    ]


def cost(figures: Figures) -> str:
    """What was spent, or that nobody knows."""
    return "unknown" if figures.cost is None else words.money(figures.cost)


def cap(figures: Figures) -> str:
    """The spending cap, and how much of it is spent."""
    if figures.max_cost is None:
        return "no cap" if figures.cost is not None else "no price is known"
    limit = f"of at most {words.money(figures.max_cost)}"
    if figures.cost is None:
        return limit
    return f"{limit} ({words.share(figures.cost, figures.max_cost)})"


def spending(figures: Figures) -> list[Fact]:
    """Tokens and cost, one by one."""
    return [
        Fact("Input tokens", words.count(figures.input_tokens)),
        Fact(
            "… of these cached",
            words.count(figures.cached_tokens),
            words.share(figures.cached_tokens, figures.input_tokens),
        ),
        Fact("Output tokens", words.count(figures.output_tokens)),
        Fact(
            "… of these reasoning",
            words.count(figures.reasoning_tokens),
            words.share(figures.reasoning_tokens, figures.output_tokens),
        ),
        Fact("Cost, failed attempts included", cost(figures), cap(figures)),
        Fact("Cost of 1,000 completed rows", _cost_per_thousand(figures)),
    ]


def _cost_per_thousand(figures: Figures) -> str:
    if figures.cost is None or not figures.completed:
        return words.UNKNOWN
    return words.money(1000 * figures.cost / figures.completed)


def about(figures: Figures) -> list[Fact]:
    """Which batch this is: strangers' text in it is plain, and not escaped."""
    known = [
        Fact("Batch", words.plain(figures.id)),
        Fact("Endpoint", words.plain(figures.endpoint)),
        Fact("Model", words.plain(figures.model) if figures.model is not None else words.UNKNOWN),
        Fact("Created", _time(figures.created_at)),
        Fact("Began", _time(figures.began_at)),
        Fact("Ended", _time(figures.ended_at)),
    ]
    own = [Fact(words.plain(key), words.plain(value)) for key, value in figures.metadata.items()]
    return known + own


def cause(of: Cause | RowFigures) -> str:
    """An error's category and code: `rate_limited: tokens_per_minute`."""
    known = [words.plain(part) for part in (of.category, of.code) if part]
    return ": ".join(known) or words.UNKNOWN


def left_out(shown: Sequence[object], total: int, thing: str) -> str:
    """A sentence where a list was cut: how much of it is shown. Else nothing."""
    if len(shown) >= total:
        return ""
    return f"{words.count(len(shown))} of {words.counted(total, thing)} shown."


def uncounted(figures: Figures) -> int:
    """How many failed rows have none of the causes listed."""
    return max(figures.failed - sum(cause.count for cause in figures.failures), 0)


def _time(moment: datetime | None) -> str:
    if moment is None:
        return "not yet"
    # Taken as UTC where no zone is given: the machine's own would differ from reader to reader.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{aware.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
