"""A batch's report in a terminal, or as plain text in a pipe: there, each row is one line."""

import math
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.batch.report import summary, words
from worker.batch.report.figures import Cause, Figures, Moment, RowFigures, Spread
from worker.batch.report.scales import buckets

_STYLES = {
    summary.Verdict.GOOD: "bold blue",
    summary.Verdict.PARTLY: "bold yellow",
    summary.Verdict.BAD: "bold red",
    summary.Verdict.OPEN: "bold cyan",
}
_EIGHTHS = " ▏▎▍▌▋▊▉"
_STEPS = "▁▂▃▄▅▆▇█"
_BAR_CELLS = 30
_TIMELINE_CELLS = 60
_MESSAGE_CHARACTERS = 200
# Wide enough for any line: what reads a pipe wants lines whole.
_PIPE_CELLS = 2000

# A table's column: its name, and whether it holds numbers.
_Column = tuple[str, bool]


def print_report(figures: Figures, console: Console) -> None:
    """Print the report. Strangers' text is shown as it is: no markup, no control characters."""
    _head(figures, console)
    _throughput(figures, console)
    _spread("Time per row, from first attempt to end", figures.started, console)
    _spread("Time to first token, from request to first character", figures.first_token, console)
    _failures(figures, console)
    _retries(figures, console)
    _title("Tokens and cost", console)
    _facts(summary.spending(figures), console)
    _slowest(figures.slowest, console)
    _failed(figures, console)


def _head(figures: Figures, console: Console) -> None:
    verdict = summary.verdict(figures)
    _line(f"{summary.SIGNS[verdict]} {summary.headline(figures)}", console, _STYLES[verdict])
    outcome = summary.outcome(figures)
    if outcome:
        _line(f"  {outcome}", console)
    _line("", console)
    _facts(summary.facts(figures), console)
    _line("", console)
    _facts(summary.about(figures), console)


def _line(text: str, console: Console, style: str = "") -> None:
    console.print(Text(text, style), soft_wrap=True, highlight=False)


def _title(text: str, console: Console) -> None:
    _line("", console)
    _line(text, console, "bold")


def _facts(facts: Sequence[summary.Fact], console: Console) -> None:
    rows = [(fact.name, fact.value, fact.note) for fact in facts]
    _table([("", False), ("", False), ("", False)], rows, console)


def _table(columns: Sequence[_Column], rows: Sequence[Sequence[str]], console: Console) -> None:
    """A table whose cells fold in a terminal, and do not in a pipe."""
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(n for n, _ in columns)
    )
    for name, numbers in columns:
        table.add_column(Text(name, "dim"), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    if console.is_terminal:
        console.print(table, highlight=False)
        return
    lines = console.render_lines(table, console.options.update(width=_PIPE_CELLS), pad=False)
    for line in lines:
        _line("".join(segment.text for segment in line).rstrip(), console)


def _bar(part: int, largest: int) -> str:
    """A bar in eighths of a cell; whatever is more than nothing shows."""
    eighths = math.ceil(8 * _BAR_CELLS * part / largest) if largest else 0
    whole, rest = divmod(eighths, 8)
    return "█" * whole + _EIGHTHS[rest].strip()


def _throughput(figures: Figures, console: Console) -> None:
    _title("Throughput over time", console)
    if not any(moment.completed or moment.failed for moment in figures.timeline):
        _line("No row has ended yet." if figures.total else "There are no rows.", console)
        return
    cells = _cells(figures.timeline, figures.stretch_s)
    highest = max(moment.completed + moment.failed for moment in cells)
    line = "".join(_step(moment.completed + moment.failed, highest) for moment in cells)
    _line(line, console, "blue")
    if any(moment.failed for moment in cells):
        marks = "".join("x" if moment.failed else " " for moment in cells)
        _line(f"{marks.rstrip()}  x: some failed", console, "yellow")
    width = _cell_s(figures.timeline, figures.stretch_s)
    extent = words.duration(figures.timeline[-1].at_s + figures.stretch_s)
    most = f"{words.counted(highest, 'row')} in {words.duration(width)}"
    _line(f"0 to {extent}; the highest is {most}", console, "dim")


def _cell_s(timeline: Sequence[Moment], stretch_s: float) -> float:
    """Seconds that one cell of the timeline stands for: one stretch, or several."""
    stretches = round(timeline[-1].at_s / stretch_s) + 1 if stretch_s else 1
    return stretch_s * math.ceil(stretches / _TIMELINE_CELLS)


def _cells(timeline: Sequence[Moment], stretch_s: float) -> list[Moment]:
    """The timeline in so few stretches that they fit on a line, empty ones included."""
    width = _cell_s(timeline, stretch_s) or 1.0
    # A hundredth of a stretch more: 3 x 0.1 / 0.1 must not fall into the second.
    place_of = {
        place: list(moments)
        for place, moments in groupby(
            timeline, lambda moment: int((moment.at_s + stretch_s / 100) / width)
        )
    }
    return [
        Moment(
            place * width,
            sum(moment.completed for moment in place_of.get(place, [])),
            sum(moment.failed for moment in place_of.get(place, [])),
        )
        for place in range(max(place_of) + 1)
    ]


def _step(part: int, highest: int) -> str:
    return _STEPS[math.ceil(len(_STEPS) * part / highest) - 1] if part else " "


def _spread(title: str, spread: Spread, console: Console) -> None:
    _title(title, console)
    bars = buckets(spread.histogram)
    if not spread.count or not bars:
        _line("No row has a time to show.", console)
        return
    largest = max(bucket.count for bucket in bars)
    rows = [
        (words.duration(bucket.upto), words.count(bucket.count), _bar(bucket.count, largest))
        for bucket in bars
    ]
    _table([("At most", True), ("Rows", True), ("", False)], rows, console)
    within = [
        f"{percent} % within {words.duration(seconds)}"
        for percent, seconds in sorted(spread.percentiles.items())
    ]
    _line(", ".join(within), console)


def _failures(figures: Figures, console: Console) -> None:
    _title("Failures by cause", console)
    if not figures.failed:
        _line("No row failed.", console)
        return
    _causes(figures.failures, figures.failed, console)
    rest = summary.uncounted(figures)
    if rest:
        _line(f"{words.counted(rest, 'row')} failed of other causes.", console)


def _retries(figures: Figures, console: Console) -> None:
    _title("Retries by cause", console)
    if not figures.retries:
        _line("No attempt was given up and made again.", console)
        return
    _causes(figures.retries, sum(cause.count for cause in figures.retries), console)


def _causes(causes: Sequence[Cause], total: int, console: Console) -> None:
    if not causes:
        return
    largest = max(cause.count for cause in causes)
    rows = [
        (
            summary.cause(cause),
            words.count(cause.count),
            words.share(cause.count, total),
            _bar(cause.count, largest),
        )
        for cause in causes
    ]
    _table([("Cause", False), ("Count", True), ("Share", True), ("", False)], rows, console)


def _slowest(slowest: Sequence[RowFigures], console: Console) -> None:
    _title("Slowest rows", console)
    if not slowest:
        _line("No row has ended yet.", console)
        return
    columns = [("Took", True), ("Row", True), ("Attempts", True), ("Tokens", True)]
    rows = [
        (
            words.duration(row.took_s),
            words.count(row.row),
            words.count(row.attempts),
            words.count(row.tokens),
            words.plain(row.state),
            words.plain(row.custom_id),
        )
        for row in slowest
    ]
    _table([*columns, ("State", False), ("Custom id", False)], rows, console)


def _failed(figures: Figures, console: Console) -> None:
    _title("Failed rows", console)
    if not figures.failed:
        _line("No row failed.", console)
        return
    note = summary.left_out(figures.failed_rows, figures.failed, "failed row")
    if note:
        _line(note, console)
    if not figures.failed_rows:
        return
    columns = [("Row", True), ("Custom id", False), ("HTTP", True), ("Attempts", True)]
    rows = [
        (
            words.count(row.row),
            words.plain(row.custom_id),
            words.UNKNOWN if row.status is None else str(row.status),
            words.count(row.attempts),
            *_why(row, console),
        )
        for row in figures.failed_rows
    ]
    reasons = ["Cause and message"] if console.is_terminal else ["Cause", "Message"]
    _table([*columns, *((name, False) for name in reasons)], rows, console)


def _why(row: RowFigures, console: Console) -> Sequence[str]:
    """Cause and message: below each other where width is short, in columns of a pipe's line."""
    message = words.shortened(words.plain(row.message or words.UNKNOWN), _MESSAGE_CHARACTERS)
    cause = summary.cause(row)
    return [f"{cause}\n{message}"] if console.is_terminal else [cause, message]
