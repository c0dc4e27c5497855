"""Charts for the results page: SVG documents that need nothing else, for light and dark pages.

Vega-Lite describes them, and Vega draws them: `vl-convert-python` carries both in one wheel.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import vl_convert

Spec = dict[str, object]
Rows = Sequence[Mapping[str, Any]]

WIDTH, HEIGHT, BAR_HEIGHT = 560, 300, 26
# Okabe and Ito's colours, which the colour-blind tell apart, without their black and yellow: each
# would vanish on one of the two backgrounds. (jfly.uni-koeln.de/color)
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#888888"]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "wedge"]
FONT = "system-ui, sans-serif"
# These look otherwise where the page is dark.
INK, GRID, PAPER = "#24292f", "#d0d7de", "#ffffff"
DARK = {INK: "#e6edf3", GRID: "#3d444d", PAPER: "#0d1117"}
# Of at most so many decades the twos and fives are shown, too.
MOST_DIVIDED = 4
# Three digits, no zeros behind them.
NUMBER = ",.3~r"


def lines(
    title: str,
    x: str,
    y: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """A chart with a line for each name in the series, in their order; an SVG document.

    Args:
        title: above the chart.
        x, y: what the axes are, with their units.
        series: points, by the name that the legend shows.
        log_x, log_y: whether an axis shows logarithms: points at or below 0 are left out then.
    """
    rows = [
        {"x": at, "y": found, "of": name}
        for name, points in series.items()
        for at, found in points
        if (at > 0 or not log_x) and (found > 0 or not log_y)
    ]
    names = list(series)
    encoding: Spec = {
        "x": _axis("x", x, rows, log=log_x),
        "y": _axis("y", y, rows, log=log_y),
        "color": _told_apart(names, COLOURS),
        "shape": _told_apart(names, SHAPES),
    }
    mark: Spec = {"type": "line", "strokeWidth": 2, "point": {"size": 55, "filled": True}}
    return _svg(title, rows, {"height": HEIGHT, "mark": mark, "encoding": encoding})


def bars(title: str, y: str, values: Mapping[str, float], *, log_y: bool = False) -> str:
    """A chart with a bar for each name, in their order, and its number at its end; an SVG document.

    Args:
        title: above the chart.
        y: what the numbers are, with their unit.
        values: by the words beside the bar: bars lie, so that long ones have room.
        log_y: whether the numbers' axis shows logarithms: bars at or below 0 are left out then.
    """
    rows = [{"of": name, "y": found} for name, found in values.items() if found > 0 or not log_y]
    axis: Spec = {"labelLimit": 320, "ticks": False, "domain": False, "grid": False}
    axis["labelPadding"] = 8
    across = _axis("y", y, rows, log=log_y)
    encoding: Spec = {
        "x": across,
        "y": {"field": "of", "type": "nominal", "sort": None, "title": None, "axis": axis},
    }
    number: Spec = {"type": "text", "align": "left", "dx": 5, "color": INK}
    text: Spec = {"field": "y", "type": "quantitative", "format": NUMBER}
    begun: Spec = {"x2": {"datum": _decades(rows, "y")[0]}} if log_y else {}
    layers = [
        {"mark": {"type": "bar", "color": COLOURS[0]}, "encoding": {**encoding, **begun}},
        {"mark": number, "encoding": {**encoding, "text": text}},
    ]
    return _svg(title, rows, {"height": {"step": BAR_HEIGHT}, "layer": layers})


def _axis(field: str, title: str, rows: Rows, *, log: bool) -> Spec:
    axis: Spec = {"format": NUMBER, "labelOverlap": True, "tickCount": 6}
    scale: Spec = {"zero": True, "nice": True}
    if log:
        decades = _decades(rows, field)
        scale = {"type": "log", "domain": [decades[0], decades[-1]], "nice": False}
        steps = (1, 2, 5) if len(decades) <= MOST_DIVIDED else (1,)
        found = [step * decade for decade in decades for step in steps]
        axis["values"] = [each for each in found if each <= decades[-1]]
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _decades(rows: Rows, field: str) -> list[float]:
    """The powers of ten from below the least number to above the greatest; at least two."""
    numbers = [float(row[field]) for row in rows] or [1.0]
    least, most = math.floor(math.log10(min(numbers))), math.ceil(math.log10(max(numbers)))
    return [10.0**power for power in range(least, max(most, least + 1) + 1)]


def _told_apart(names: Sequence[str], looks: Sequence[str]) -> Spec:
    """Each name has its own look, and the legend says which; one alone needs none."""
    scale: Spec = {"domain": names, "range": [looks[n % len(looks)] for n in range(len(names))]}
    legend: Spec | None = {"title": None, "symbolSize": 90} if len(names) > 1 else None
    return {"field": "of", "type": "nominal", "scale": scale, "legend": legend}


def _svg(title: str, rows: Rows, chart: Spec) -> str:
    words: Spec = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    config: Spec = {
        "font": FONT,
        "axis": {**words, "titleFontWeight": "normal", "gridColor": GRID, "domainColor": INK}
        | {"tickColor": INK, "titlePadding": 10},
        "legend": {**words, "labelLimit": 320},
        "title": {"color": INK, "fontSize": 15, "anchor": "start", "offset": 14},
        "view": {"stroke": None},
    }
    document: Spec = {"data": {"values": rows}, "width": WIDTH, "title": title, "padding": 16}
    document |= {"background": PAPER, "config": config, **chart}
    return _for_dark_pages(vl_convert.vegalite_to_svg(document))


def _for_dark_pages(svg: str) -> str:
    rules = "".join(
        f'[fill="{light}"]{{fill:{dark}}}[stroke="{light}"]{{stroke:{dark}}}'
        for light, dark in DARK.items()
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    head, end, rest = svg.partition(">")
    return f"{head}{end}{style}{rest}\n"
