"""The page's tables. Cells that hold strangers' text are escaped here, once."""

from collections.abc import Mapping, Sequence
from html import escape

from msgspec import Struct

from worker.batch.report import summary, words
from worker.batch.report.charts import share_bar
from worker.batch.report.figures import Cause, RowFigures

# A message may hold a whole answer of a server; more of it is in the batch's error file.
MESSAGE_CHARACTERS = 600
_COLUMN_HEADER = 'th scope="col"'
_ROW_HEADER = 'th scope="row"'


class _Cell(Struct, frozen=True):
    """What a cell holds, as HTML, and its class."""

    html: str
    kind: str = ""

    def tag(self, name: str) -> str:
        kind = f' class="{self.kind}"' if self.kind else ""
        return f"<{name}{kind}>{self.html}</{name.split(maxsplit=1)[0]}>"


def _words(text: str) -> _Cell:
    return _Cell(f"<bdi>{escape(words.plain(text))}</bdi>", "words")


def _number(text: str) -> _Cell:
    return _Cell(escape(text), "number")


def causes_table(causes: Sequence[Cause], total: int, name: str) -> str:
    """Causes with lines as long as they are frequent; shares are of the total."""
    largest = max(cause.count for cause in causes)
    rows = []
    for cause in causes:
        why, number = summary.cause(cause), words.count(cause.count)
        line = share_bar(cause.count, largest, f"{why}: {number}")
        share = words.share(cause.count, total)
        rows.append([_words(why), _number(number), _number(share), _Cell(line, "line")])
    head = [_Cell("Cause"), _Cell("Count", "number"), _Cell("Share", "number"), _Cell("")]
    return _table(name, head, rows)


def facts_table(facts: Sequence[summary.Fact]) -> str:
    """Names, numbers and what they are in proportion."""
    rows = [[_Cell(escape(fact.name)), _number(fact.value), _words(fact.note)] for fact in facts]
    head = [_Cell("What"), _Cell("How much", "number"), _Cell("In proportion")]
    return _table("Tokens and cost", head, rows)


def percentiles_table(percentiles: Mapping[int, float]) -> str:
    """Within which time how many rows were done."""
    rows = [
        [_Cell(f"{percent} %"), _number(words.duration(seconds))]
        for percent, seconds in sorted(percentiles.items())
    ]
    return _table("Percentiles", [_Cell("Share of rows"), _Cell("Within", "number")], rows)


def slowest_table(rows: Sequence[RowFigures]) -> str:
    """Rows by the time they took, in the order given."""
    head = [
        _Cell("Custom id"),
        _Cell("Row", "number"),
        _Cell("Took", "number"),
        _Cell("Attempts", "number"),
        _Cell("Tokens", "number"),
        _Cell("State"),
        _Cell("Job"),
    ]
    cells = [
        [
            _words(row.custom_id),
            _number(words.count(row.row)),
            _number(words.duration(row.took_s)),
            _number(words.count(row.attempts)),
            _number(words.count(row.tokens)),
            _words(row.state),
            _words(row.job),
        ]
        for row in rows
    ]
    return _table("Slowest rows", head, cells)


def failed_table(rows: Sequence[RowFigures]) -> str:
    """Rows that failed, with what is known of the reason."""
    head = [
        _Cell("Custom id"),
        _Cell("Row", "number"),
        _Cell("Cause"),
        _Cell("HTTP status", "number"),
        _Cell("Message"),
        _Cell("Attempts", "number"),
    ]
    cells = [
        [
            _words(row.custom_id),
            _number(words.count(row.row)),
            _words(summary.cause(row)),
            _number(words.UNKNOWN if row.status is None else str(row.status)),
            _words(words.shortened(row.message or words.UNKNOWN, MESSAGE_CHARACTERS)),
            _number(words.count(row.attempts)),
        ]
        for row in rows
    ]
    return _table("Failed rows", head, cells)


def _table(name: str, head: Sequence[_Cell], rows: Sequence[Sequence[_Cell]]) -> str:
    # An empty header would be announced as one: the column of lines has a cell.
    top = "".join(cell.tag(_COLUMN_HEADER) if cell.html else "<td></td>" for cell in head)
    body = "\n".join(
        f"<tr>{row[0].tag(_ROW_HEADER)}{''.join(cell.tag('td') for cell in row[1:])}</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" aria-label="{escape(name)}" tabindex="0">'
        f"<table><thead><tr>{top}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
