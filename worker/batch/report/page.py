"""A batch's report as one page: it needs no script, no other file and no network."""

from collections.abc import Iterable
from html import escape

from worker.batch.report import summary, words
from worker.batch.report.charts import histogram_chart, timeline_chart
from worker.batch.report.figures import Figures, Spread
from worker.batch.report.scales import buckets
from worker.batch.report.style import STYLE
from worker.batch.report.tables import (
    causes_table,
    facts_table,
    failed_table,
    percentiles_table,
    slowest_table,
)


def page(figures: Figures) -> str:
    """The report as HTML. All text that comes from the batch is escaped."""
    title = escape(f"{summary.headline(figures)} — batch {words.plain(figures.id)}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{_head(figures)}\n<main>\n{''.join(_sections(figures))}</main>\n</body>\n</html>\n"
    )


def _head(figures: Figures) -> str:
    verdict = summary.verdict(figures)
    outcome = summary.outcome(figures)
    sign = f'<span class="sign" aria-hidden="true">{summary.SIGNS[verdict]}</span>'
    said = f"{sign}{escape(outcome[:1].upper() + outcome[1:])}." if outcome else sign
    return (
        f'<header class="{verdict}">\n<h1>{escape(summary.headline(figures))}</h1>\n'
        f'<p class="outcome">{said}</p>\n</header>\n'
        f'<dl class="facts">{_terms(summary.facts(figures))}</dl>\n'
        f'<dl class="about">{_terms(summary.about(figures), "", "")}</dl>'
    )


def _terms(facts: Iterable[summary.Fact], before: str = "<div>", after: str = "</div>") -> str:
    return "\n".join(
        f"{before}<dt>{_bdi(fact.name)}</dt><dd>{_bdi(fact.value)}{_note(fact)}</dd>{after}"
        for fact in facts
    )


def _bdi(text: str) -> str:
    # A name that is written from right to left must not turn around what stands beside it.
    return f"<bdi>{escape(text)}</bdi>"


def _note(fact: summary.Fact) -> str:
    return f' <span class="note">{escape(fact.note)}</span>' if fact.note else ""


def _sections(figures: Figures) -> Iterable[str]:
    yield _section("Throughput over time", _throughput(figures))
    yield _section("Time per row", _spread(figures.started, "From first attempt to end"))
    yield _section(
        "Time to first token", _spread(figures.first_token, "From request to first character")
    )
    yield _section("Failures by cause", _failures(figures))
    yield _section("Retries by cause", _retries(figures))
    yield _section("Tokens and cost", facts_table(summary.spending(figures)))
    yield _section("Slowest rows", _slowest(figures))
    yield _section("Failed rows", _failed(figures))


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>\n"


def _say(sentence: str) -> str:
    return f'<p class="quiet">{escape(sentence)}</p>' if sentence else ""


def _throughput(figures: Figures) -> str:
    if not any(moment.completed or moment.failed for moment in figures.timeline):
        return _say("No row has ended yet." if figures.total else "There are no rows.")
    caption = f"Rows ended per {words.duration(figures.stretch_s)}, by time since the start."
    return (
        f"<figure>\n<figcaption>{caption} {_keys()}</figcaption>\n"
        f"{timeline_chart(figures.timeline, figures.stretch_s)}\n</figure>"
    )


def _keys() -> str:
    square = '<rect class="{}" width="12" height="12"/>'
    circle = '<circle class="mark" cx="6" cy="6" r="3"/>'
    keys = [
        (square.format("completed"), "completed"),
        (square.format("failed"), "failed"),
        (circle, "some failed"),
    ]
    return "".join(
        f'<span class="key"><svg width="12" height="12" aria-hidden="true">{sign}</svg>'
        f"{name}</span>"
        for sign, name in keys
    )


def _spread(spread: Spread, what: str) -> str:
    bars = buckets(spread.histogram)
    if not spread.count or not bars:
        return _say("No row has a time to show.")
    caption = f"{what}, of {words.counted(spread.count, 'row')}; rows per range of time."
    return (
        f'<div class="beside">\n<figure>\n<figcaption>{caption}</figcaption>\n'
        f"{histogram_chart(bars, what)}\n</figure>\n"
        f"<div>{percentiles_table(spread.percentiles)}</div>\n</div>"
    )


def _failures(figures: Figures) -> str:
    if not figures.failed:
        return _say("No row failed.")
    rest = summary.uncounted(figures)
    more = f"{words.counted(rest, 'row')} failed of other causes." if rest else ""
    if not figures.failures:
        return _say(more)
    return causes_table(figures.failures, figures.failed, "Failures by cause") + _say(more)


def _retries(figures: Figures) -> str:
    if not figures.retries:
        return _say("No attempt was given up and made again.")
    total = sum(cause.count for cause in figures.retries)
    return causes_table(figures.retries, total, "Retries by cause")


def _slowest(figures: Figures) -> str:
    return slowest_table(figures.slowest) if figures.slowest else _say("No row has ended yet.")


def _failed(figures: Figures) -> str:
    if not figures.failed:
        return _say("No row failed.")
    note = summary.left_out(figures.failed_rows, figures.failed, "failed row")
    table = failed_table(figures.failed_rows) if figures.failed_rows else ""
    return _say(note) + table
