"""A batch's report, as a page and in a terminal."""

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import msgspec
import pytest
from rich.console import Console

from worker.batch.report import words
from worker.batch.report.figures import Cause, Figures, Moment, RowFigures, Spread
from worker.batch.report.page import page
from worker.batch.report.scales import count_ticks, time_ticks
from worker.batch.report.terminal import print_report

BEGAN = datetime(2026, 3, 1, 22, tzinfo=UTC)
NOTHING = Spread(count=0, percentiles={}, histogram=[])
HOSTILE = "<img src=x onerror=alert(1)>\"'&[red]x[/red]\x1b[31m\u202e"
SHOWN = "<img src=x onerror=alert(1)>\"'&[red]x[/red]\ufffd[31m\ufffd"

FAILED_ROW = RowFigures(
    row=41_007,
    custom_id="night-41007",
    job="job_9",
    state="failed",
    took_s=64.0,
    attempts=5,
    tokens=None,
    category="rate_limited",
    code="tokens_per_minute",
    status=429,
    message="Too many tokens.",
)
SLOW_ROW = RowFigures(
    row=12,
    custom_id="night-12",
    job="job_12",
    state="completed",
    took_s=4320.0,
    attempts=1,
    tokens=31_337,
)
FIGURES = Figures(
    id="batch_1",
    status="completed",
    endpoint="/v1/chat/completions",
    model="small",
    metadata={"purpose": "evaluation"},
    pause=None,
    created_at=BEGAN,
    began_at=BEGAN,
    ended_at=BEGAN + timedelta(seconds=4320),
    total=100_000,
    completed=99_812,
    failed=188,
    attempts=101_877,
    input_tokens=48_000_000,
    cached_tokens=12_000_000,
    output_tokens=20_000_000,
    reasoning_tokens=5_000_000,
    cost=37.5,
    max_cost=50.0,
    stretch_s=1440.0,
    timeline=[Moment(0.0, 40_000, 0), Moment(1440.0, 39_812, 188), Moment(2880.0, 20_000, 0)],
    started=Spread(
        count=100_000,
        percentiles={50: 3.4, 90: 8.2, 95: 12.9, 99: 41.0, 100: 4320.0},
        histogram=[(1.0, 0), (2.0, 10_000), (4.0, 60_000), (8.0, 30_000), (16.0, 0)],
    ),
    first_token=Spread(
        count=99_900,
        percentiles={50: 0.12, 100: 0.9},
        histogram=[(0.25, 99_000), (0.5, 0), (1.0, 900)],
    ),
    failures=[Cause("rate_limited", "tokens_per_minute", 120), Cause("content_filter", None, 60)],
    retries=[Cause("upstream", "503", 1_500), Cause("timeout", "first_token", 377)],
    slowest=[SLOW_ROW],
    failed_rows=[FAILED_ROW],
)
FLAWLESS = msgspec.structs.replace(
    FIGURES, completed=100_000, failed=0, failures=[], failed_rows=[], retries=[]
)
NO_ROWS = msgspec.structs.replace(
    FLAWLESS,
    total=0,
    completed=0,
    attempts=0,
    input_tokens=0,
    cached_tokens=0,
    output_tokens=0,
    reasoning_tokens=0,
    cost=None,
    max_cost=None,
    timeline=[],
    started=NOTHING,
    first_token=NOTHING,
    slowest=[],
)
NOT_BEGUN = msgspec.structs.replace(
    NO_ROWS, status="validating", total=500, began_at=None, ended_at=None
)

VOID = {"meta", "br", "img", "link", "input", "hr", "base"}


class Node:
    """An element: what is in it, in order."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.content: list[Node | str] = []

    def all(self, tag: str, **attributes: str) -> list["Node"]:
        """Every element below with this tag and these attributes (`kind` is the class)."""
        wanted = {"class" if name == "kind" else name: it for name, it in attributes.items()}
        return [
            node
            for node in self.below()
            if node.tag == tag and wanted.items() <= node.attributes.items()
        ]

    def below(self) -> Iterator["Node"]:
        for child in self.content:
            if isinstance(child, Node):
                yield child
                yield from child.below()

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.content)

    def number(self, name: str) -> float:
        return float((self.attributes[name] or "").removesuffix("%"))


class Tree(HTMLParser):
    """Reads a page into nodes; an element that is not closed, or closed twice, is a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self._open[-1].content.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].content.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].content.append(data)

    def close(self) -> None:
        super().close()
        assert self._open == [self.root]


def read(html: str) -> Node:
    tree = Tree()
    tree.feed(html)
    tree.close()
    return tree.root


def section(figures: Figures, title: str) -> Node:
    """The section of the page with that title."""
    sections = read(page(figures)).all("section")
    found = [each for each in sections if each.all("h2")[0].text == title]
    assert len(found) == 1
    return found[0]


def rows(node: Node) -> list[list[str]]:
    """The cells of each row of the one table in the node, without its head."""
    (body,) = node.all("tbody")
    return [[cell.text for cell in row.content if isinstance(cell, Node)] for row in body.all("tr")]


def facts(figures: Figures) -> dict[str, str]:
    (facts,) = read(page(figures)).all("dl", kind="facts")
    names = [name.text for name in facts.all("dt")]
    return dict(zip(names, [value.text for value in facts.all("dd")], strict=True))


def printed(figures: Figures, *, terminal: bool = False, width: int = 100) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=terminal, width=width, color_system=None, legacy_windows=False
    )
    print_report(figures, console)
    return stream.getvalue()


def below(text: str, title: str) -> list[str]:
    """The lines printed below a title, up to the next empty one."""
    lines = text.splitlines()
    start = lines.index(title) + 1
    return lines[start : lines.index("", start) if "" in lines[start:] else None]


# The headline


def test_the_headline_says_how_many_rows_completed():
    tree = read(page(FIGURES))
    (headline,) = tree.all("h1")
    assert headline.text == "99,812 of 100,000 rows completed"
    (header,) = tree.all("header")
    assert "188 rows failed" in header.text
    assert header.attributes["class"] == "partly"


def test_a_batch_without_failures_is_told_from_one_with_some_by_more_than_a_colour():
    (good,) = read(page(FLAWLESS)).all("header")
    (partly,) = read(page(FIGURES)).all("header")
    assert good.attributes["class"] == "good"
    assert "Every row completed" in good.text
    assert good.all("span", kind="sign")[0].text != partly.all("span", kind="sign")[0].text


def test_a_cancelled_batch_says_how_many_rows_did_not_end():
    cancelled = msgspec.structs.replace(FIGURES, status="cancelled", total=100_500)
    (header,) = read(page(cancelled)).all("header")
    assert "188 rows failed, 500 rows did not end" in header.text


def test_a_batch_that_still_runs_says_what_is_to_go_and_why_it_pauses():
    paused = msgspec.structs.replace(
        FIGURES, status="in_progress", ended_at=None, total=100_500, pause="cost cap <reached>"
    )
    (header,) = read(page(paused)).all("header")
    assert header.attributes["class"] == "open"
    assert "500 rows to go, paused: cost cap <reached>" in header.text
    # Up to the end of the last stretch: the end itself is not known.
    assert facts(paused)["Duration"] == "1 h 12 min so far"


def test_the_facts_stand_beside_the_headline():
    assert facts(FIGURES) == {
        "Status": "completed",
        "Duration": "1 h 12 min",
        "Throughput": "23.1 rows/s completed and failed rows",
        "Tokens": "68,000,000 48,000,000 in, 20,000,000 out",
        "Cost": "37.50 of at most 50.00 (75 %)",
        "Attempts": "101,877 1.02 per ended row",
    }


def test_a_cost_nobody_knows_is_no_zero():
    unknown = msgspec.structs.replace(FIGURES, cost=None)
    assert facts(unknown)["Cost"] == "unknown of at most 50.00"
    uncapped = msgspec.structs.replace(FIGURES, cost=None, max_cost=None)
    assert facts(uncapped)["Cost"] == "unknown no price is known"
    spent = rows(section(uncapped, "Tokens and cost"))
    assert ["Cost of 1,000 completed rows", "—", ""] in spent


def test_tokens_and_cost_are_shown_with_their_proportions():
    assert rows(section(FIGURES, "Tokens and cost")) == [
        ["Input tokens", "48,000,000", ""],
        ["… of these cached", "12,000,000", "25 %"],
        ["Output tokens", "20,000,000", ""],
        ["… of these reasoning", "5,000,000", "25 %"],
        ["Cost, failed attempts included", "37.50", "of at most 50.00 (75 %)"],
        ["Cost of 1,000 completed rows", "0.3757", ""],
    ]


# Charts


def test_the_bars_of_the_timeline_are_as_high_as_their_counts():
    even = msgspec.structs.replace(
        FIGURES, timeline=[Moment(0.0, 300, 100), Moment(1440.0, 200, 0), Moment(2880.0, 50, 50)]
    )
    chart = section(even, "Throughput over time").all("svg", kind="chart")[0]
    completed, failed = chart.all("rect", kind="completed"), chart.all("rect", kind="failed")
    per_row = completed[0].number("height") / 300
    assert per_row > 0
    assert [bar.number("height") / per_row for bar in completed] == pytest.approx([300, 200, 50])
    assert [bar.number("height") / per_row for bar in failed] == pytest.approx([100, 50])


def test_failed_rows_are_stacked_on_completed_ones():
    chart = section(FIGURES, "Throughput over time").all("svg", kind="chart")[0]
    below, above = chart.all("rect", kind="completed")[1], chart.all("rect", kind="failed")[0]
    assert above.attributes["x"] == below.attributes["x"]
    end = above.number("y") + above.number("height")
    assert end == pytest.approx(below.number("y"), abs=0.02)
    floors = [bar.number("y") + bar.number("height") for bar in chart.all("rect", kind="completed")]
    assert floors == pytest.approx([floors[0]] * 3, abs=0.02)


def test_a_stretch_with_few_failures_among_thousands_is_marked():
    chart = section(FIGURES, "Throughput over time").all("svg", kind="chart")[0]
    (mark,) = chart.all("circle")
    assert mark.number("cx") == pytest.approx(50.0, abs=0.1)


def test_a_stretch_in_which_nothing_ended_leaves_its_place_empty():
    gap = msgspec.structs.replace(
        FLAWLESS, timeline=[Moment(0.0, 10, 0), Moment(4320.0, 10, 0)], stretch_s=1440.0
    )
    chart = section(gap, "Throughput over time").all("svg", kind="chart")[0]
    first, last = chart.all("rect", kind="completed")
    assert first.number("width") == pytest.approx(last.number("width"))
    assert first.number("width") < 25
    assert last.number("x") - first.number("x") == pytest.approx(75, abs=0.01)


def test_one_single_stretch_fills_the_timeline():
    one = msgspec.structs.replace(FLAWLESS, timeline=[Moment(0.0, 7, 0)], stretch_s=0.5)
    chart = section(one, "Throughput over time").all("svg", kind="chart")[0]
    (bar,) = chart.all("rect", kind="completed")
    assert bar.number("width") > 80
    assert bar.number("x") + bar.number("width") <= 100
    assert "7 completed, 0 failed" in chart.all("title")[0].text


def test_the_bars_of_a_histogram_are_as_high_as_their_counts():
    chart = section(FIGURES, "Time per row").all("svg", kind="chart")[0]
    heights = [bar.number("height") for bar in chart.all("rect", kind="bar")]
    # The empty buckets before and after are left out.
    assert [height / heights[0] for height in heights] == pytest.approx([1, 6, 3], abs=0.01)
    labels = [label.text for label in chart.all("text", kind="below")]
    assert labels == ["1 s", "2 s", "4 s", "8 s"]


def test_bars_reach_the_ticks_of_their_counts():
    chart = section(FIGURES, "Throughput over time").all("svg", kind="chart")[0]
    labels = [label.text for label in chart.all("text", kind="left")]
    assert labels == ["0", "10,000", "20,000", "30,000", "40,000"]
    lines = [line.number("y1") for line in chart.all("line", kind="grid")]
    first, _, last = chart.all("rect", kind="completed")
    assert first.number("y") == pytest.approx(lines[labels.index("40,000")], abs=0.02)
    assert last.number("y") == pytest.approx(lines[labels.index("20,000")], abs=0.02)
    for title in ("Throughput over time", "Time per row", "Time to first token"):
        chart = section(FIGURES, title).all("svg", kind="chart")[0]
        floor = chart.all("line", kind="grid")[0].number("y1")
        bars = [bar for bar in chart.all("rect") if bar.attributes["class"] != "failed"]
        ends = [bar.number("y") + bar.number("height") for bar in bars]
        assert ends == pytest.approx([floor] * len(bars), abs=0.02)


def test_times_stand_where_they_are_on_the_axis():
    chart = section(FIGURES, "Throughput over time").all("svg", kind="chart")[0]
    labels = {label.text: label.number("x") for label in chart.all("text", kind="below")}
    # Of 4,320 seconds.
    assert labels == pytest.approx(
        {"0 s": 0, "15 min": 100 * 900 / 4320, "30 min": 100 * 1800 / 4320}
        | {"45 min": 100 * 2700 / 4320, "1 h": 100 * 3600 / 4320},
        abs=0.01,
    )


def test_the_page_has_colours_for_the_dark_that_paper_does_not_get():
    (style,) = read(page(FIGURES)).all("style")
    assert "@media screen and (prefers-color-scheme: dark)" in style.text
    assert "@media print" in style.text


def test_an_empty_bucket_between_others_keeps_its_place():
    chart = section(FIGURES, "Time to first token").all("svg", kind="chart")[0]
    first, last = chart.all("rect", kind="bar")
    assert last.number("x") - first.number("x") == pytest.approx(200 / 3, abs=0.01)
    assert [label.text for label in chart.all("text", kind="below")] == [
        "0 s",
        "250 ms",
        "500 ms",
        "1 s",
    ]


def test_percentiles_are_listed_from_the_lowest():
    mixed = msgspec.structs.replace(
        FIGURES,
        started=msgspec.structs.replace(FIGURES.started, percentiles={100: 90.0, 50: 0.12, 95: 3}),
    )
    table = rows(section(mixed, "Time per row"))
    assert table == [["50 %", "120 ms"], ["95 %", "3 s"], ["100 %", "1 min 30 s"]]


def test_causes_have_lines_as_long_as_they_are_frequent():
    causes = section(FIGURES, "Failures by cause")
    lengths = [bar.number("width") for bar in causes.all("rect")]
    assert lengths == pytest.approx([100, 50])
    assert [row[:3] for row in rows(causes)] == [
        ["rate_limited: tokens_per_minute", "120", "63.8 %"],
        ["content_filter", "60", "31.9 %"],
    ]
    assert "8 rows failed of other causes." in causes.text


def test_retries_are_counted_by_cause():
    retries = section(FIGURES, "Retries by cause")
    assert [row[:3] for row in rows(retries)] == [
        ["upstream: 503", "1,500", "79.9 %"],
        ["timeout: first_token", "377", "20.1 %"],
    ]
    assert [bar.number("width") for bar in retries.all("rect")] == pytest.approx(
        [100, 100 * 377 / 1500], abs=0.01
    )


@pytest.mark.parametrize("figures", [FIGURES, FLAWLESS])
def test_every_chart_has_a_name_and_every_header_a_scope(figures):
    tree = read(page(figures))
    charts = [svg for svg in tree.all("svg") if svg.attributes.get("aria-hidden") != "true"]
    assert len(charts) >= 3
    for chart in charts:
        assert chart.attributes["role"] == "img"
        assert chart.attributes["aria-label"] == chart.all("title")[0].text != ""
    headers = tree.all("th")
    assert headers
    assert {header.attributes["scope"] for header in headers} == {"row", "col"}


# Rows


def test_the_slowest_rows_are_listed_with_what_they_took():
    assert rows(section(FIGURES, "Slowest rows")) == [
        ["night-12", "12", "1 h 12 min", "1", "31,337", "completed", "job_12"]
    ]


def test_failed_rows_are_listed_with_what_is_known_of_the_reason():
    failed = section(FIGURES, "Failed rows")
    cause = "rate_limited: tokens_per_minute"
    assert rows(failed) == [["night-41007", "41,007", cause, "429", "Too many tokens.", "5"]]
    assert "1 of 188 failed rows shown." in failed.text


def test_a_failed_row_of_which_nothing_is_known_has_dashes():
    bare = RowFigures(
        row=1, custom_id="a", job="j", state="failed", took_s=None, attempts=0, tokens=None
    )
    figures = msgspec.structs.replace(FIGURES, failed=1, failed_rows=[bare], slowest=[bare])
    assert rows(section(figures, "Failed rows")) == [["a", "1", "—", "—", "—", "0"]]
    assert rows(section(figures, "Slowest rows"))[0][2:5] == ["—", "0", "—"]
    assert "shown" not in section(figures, "Failed rows").text


# Strangers' text


def hostile() -> Figures:
    row = RowFigures(
        row=1,
        custom_id=HOSTILE,
        job=HOSTILE,
        state=HOSTILE,
        took_s=1.0,
        attempts=1,
        tokens=1,
        category=HOSTILE,
        code=HOSTILE,
        message=HOSTILE,
    )
    cause = [Cause(HOSTILE, HOSTILE, 188)]
    return msgspec.structs.replace(
        FIGURES,
        id=HOSTILE,
        status=HOSTILE,
        endpoint=HOSTILE,
        model=HOSTILE,
        metadata={HOSTILE: HOSTILE},
        pause=HOSTILE,
        failures=cause,
        retries=cause,
        slowest=[row],
        failed_rows=[row],
    )


def test_a_custom_id_with_markup_is_shown_as_text():
    tree = read(page(hostile()))
    assert not tree.all("img")
    assert rows(section(hostile(), "Failed rows"))[0][0] == SHOWN
    assert rows(section(hostile(), "Slowest rows"))[0][0] == SHOWN


def test_no_text_of_a_batch_becomes_an_element_or_an_attribute():
    wild, tame = page(hostile()), read(page(hostile()))
    # Two of each row and cause, and all of the batch's own, in their places.
    assert tame.text.count(SHOWN) >= 15
    assert "<img" not in wild
    assert not [name for node in tame.below() for name in node.attributes if name.startswith("on")]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", wild)
    labels = [svg.attributes.get("aria-label") for svg in tame.all("svg", kind="share")]
    assert labels == [f"{SHOWN}: {SHOWN}: 188"] * 2


def test_half_a_surrogate_pair_does_not_keep_a_page_from_being_saved():
    assert (
        page(msgspec.structs.replace(FIGURES, model="a\ud800b")).encode().count(b"a\xef\xbf\xbdb")
    )


def test_the_page_refers_to_nothing_outside_of_it():
    html = page(FIGURES)
    for reference in ("http", "src=", "href", "<script", "<link", "<base", "url(", "@import"):
        assert reference not in html
    assert {node.tag for node in read(html).below()}.isdisjoint({"script", "link", "img", "iframe"})


def test_a_long_message_is_cut_on_the_page():
    row = msgspec.structs.replace(FAILED_ROW, message="x" * 10_000)
    (shown,) = rows(section(msgspec.structs.replace(FIGURES, failed_rows=[row]), "Failed rows"))
    assert shown[4].endswith("x…")
    assert len(shown[4]) < 1_000


# Nothing to show


def test_no_failures_and_no_retries_are_said():
    failures, retries = (section(FLAWLESS, f"{what} by cause") for what in ("Failures", "Retries"))
    assert "No row failed." in failures.text
    assert "No attempt was given up" in retries.text
    assert "No row failed." in section(FLAWLESS, "Failed rows").text
    for each in (failures, retries, section(FLAWLESS, "Failed rows")):
        assert not each.all("svg") + each.all("table")


@pytest.mark.parametrize(
    ("figures", "headline", "throughput"),
    [
        (NO_ROWS, "The batch has no rows", "There are no rows."),
        (NOT_BEGUN, "0 of 500 rows completed", "No row has ended yet."),
    ],
)
def test_a_batch_of_which_nothing_ended_has_sentences_for_charts(figures, headline, throughput):
    tree = read(page(figures))
    assert tree.all("h1")[0].text == headline
    assert not tree.all("svg")
    assert throughput in section(figures, "Throughput over time").text
    assert "No row has a time to show." in section(figures, "Time per row").text
    assert "No row has ended yet." in section(figures, "Slowest rows").text
    text = printed(figures)
    assert headline in text
    assert below(text, "Throughput over time") == [throughput]
    assert "nan" not in text


def test_a_batch_that_has_not_begun_has_no_duration():
    assert facts(NOT_BEGUN)["Duration"] == "—"
    assert facts(NOT_BEGUN)["Throughput"].startswith("—")
    assert "500 rows to go" in read(page(NOT_BEGUN)).all("header")[0].text


def test_empty_stretches_alone_are_no_throughput():
    quiet = msgspec.structs.replace(
        NOT_BEGUN, timeline=[Moment(0.0, 0, 0), Moment(1440.0, 0, 0)], began_at=BEGAN
    )
    assert not section(quiet, "Throughput over time").all("svg")
    assert below(printed(quiet), "Throughput over time") == ["No row has ended yet."]


# The terminal


def test_the_terminal_says_the_same_first():
    lines = printed(FIGURES).splitlines()
    assert lines[0] == "! 99,812 of 100,000 rows completed"
    assert lines[1] == "  188 rows failed"
    assert re.search(r"^Cost +37\.50 +of at most 50\.00 \(75 %\)$", "\n".join(lines), re.M)
    assert printed(FLAWLESS).splitlines()[0] == "✓ 100,000 of 100,000 rows completed"


def test_bars_in_the_terminal_are_as_long_as_their_counts():
    lines = below(printed(FIGURES), "Time per row, from first attempt to end")
    counts = {line.split()[2]: line.count("█") for line in lines[1:4]}
    assert counts == {"10,000": 5, "60,000": 30, "30,000": 15}
    causes = below(printed(FIGURES), "Failures by cause")
    assert [line.count("█") for line in causes] == [0, 30, 15, 0]
    assert causes[-1] == "8 rows failed of other causes."


def test_a_bar_for_one_among_thousands_is_not_empty():
    few = msgspec.structs.replace(FIGURES, retries=[Cause("a", None, 99_999), Cause("b", None, 1)])
    assert below(printed(few), "Retries by cause")[2].endswith("▏")


def test_the_timeline_in_the_terminal_shows_height_and_failures_of_each_stretch():
    chart, marks, caption = below(printed(FIGURES), "Throughput over time")
    assert chart == "██▄"
    assert marks == " x  x: some failed"
    assert caption == "0 to 1 h 12 min; the highest is 40,000 rows in 24 min"


def test_a_long_timeline_is_joined_to_fit_on_a_line():
    timeline = [Moment(0.1 * place, 5 if place < 100 else 10, 0) for place in range(200)]
    long = msgspec.structs.replace(FLAWLESS, timeline=timeline, stretch_s=0.1)
    chart, caption = below(printed(long), "Throughput over time")
    assert chart == "▄" * 25 + "█" * 25
    assert caption == "0 to 20 s; the highest is 40 rows in 400 ms"


@pytest.mark.parametrize("terminal", [True, False])
def test_strangers_text_neither_styles_nor_steers_a_terminal(terminal):
    text = printed(hostile(), terminal=terminal, width=1_000)
    assert text.count(SHOWN) >= 12
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_a_custom_id_with_a_line_break_stays_on_its_line_in_a_pipe():
    row = msgspec.structs.replace(FAILED_ROW, custom_id="a\r\nb\tc", message="m" * 150)
    figures = msgspec.structs.replace(FIGURES, failed_rows=[row])
    _, _, line = below(printed(figures, width=40), "Failed rows")
    assert "a b c" in line
    assert line.endswith("  " + "m" * 150)


def test_a_narrow_terminal_gets_no_line_wider_than_it_is():
    # Sentences wrap by themselves; tables would lose their columns.
    lines = printed(FIGURES, terminal=True, width=64).splitlines()
    tables = lines[lines.index("Slowest rows") :]
    assert max(len(line) for line in tables) <= 64
    assert {"night-12", "night-41007", "429", "Too"} <= set(" ".join(tables).split())


# Words and ticks


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "—"),
        (0.0, "0 s"),
        (0.0004, "< 1 ms"),
        (0.12, "120 ms"),
        (0.9996, "1 s"),
        (3.42, "3.4 s"),
        (59.97, "1 min"),
        (65.0, "1 min 5 s"),
        (3599.7, "1 h"),
        (4320.0, "1 h 12 min"),
        (86_399.0, "1 d"),
        (97_200.0, "1 d 3 h"),
        (float("inf"), "∞"),
    ],
)
def test_durations_are_said_in_units_people_use(seconds, said):
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 10, "0 %"),
        (10, 10, "100 %"),
        (99_999, 100_000, "> 99.9 %"),
        (1, 100_000, "< 0.1 %"),
        (3, 8, "37.5 %"),
        (120, 10, "1,200 %"),
        (0, 0, "—"),
    ],
)
def test_nearly_all_is_not_said_to_be_all(part, whole, said):
    assert words.share(part, whole) == said


@pytest.mark.parametrize(
    ("amount", "said"), [(None, "—"), (0, "0.00"), (0.0123, "0.0123"), (1234.5, "1,234.50")]
)
def test_small_amounts_of_money_keep_their_digits(amount, said):
    assert words.money(amount) == said


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (1, [0, 1]),
        (3, [0, 1, 2, 3]),
        (7, [0, 2, 4, 6, 8]),
        (40_000, [0, 10_000, 20_000, 30_000, 40_000]),
    ],
)
def test_counts_have_whole_ticks_up_to_the_highest(highest, ticks):
    assert count_ticks(highest) == ticks


@pytest.mark.parametrize(
    ("extent", "ticks"),
    [
        (0.3, [0, 0.1, 0.2, 0.3]),
        (7.0, [0, 2, 4, 6]),
        (4320.0, [0, 900, 1800, 2700, 3600]),
        (30_000.0, [0, 7200, 14_400, 21_600, 28_800]),
        (864_000.0, [0, 172_800, 345_600, 518_400, 691_200, 864_000]),
    ],
)
def test_times_have_ticks_a_clock_has(extent, ticks):
    assert time_ticks(extent) == pytest.approx(ticks)
