"""SVG charts: widths in per cent of the place they get, heights in pixels.

Without a `viewBox` nothing is scaled, so that words are as large on a phone as on a desk. What is
left of the bars (words of the axis) is drawn outside of the picture: the page leaves room for it.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import TypeVar

from worker.batch.report import words
from worker.batch.report.figures import Moment
from worker.batch.report.scales import Bucket, count_ticks, time_ticks

_Label = TypeVar("_Label")

PLOT_HEIGHT = 180
# Above the bars: a mark over the highest of them has to fit.
_TOP = 12
_BELOW = 26
_BOTTOM = _TOP + PLOT_HEIGHT
# How many words an axis holds on a phone.
_LABELS = 5
# What of its place a bar fills.
_FILLED = 0.9


def timeline_chart(timeline: Sequence[Moment], stretch_s: float) -> str:
    """Rows ended in each stretch, failed ones above completed ones; at least one stretch.

    A stretch with failures has a mark above it: one in thousands is no visible part of a bar.
    """
    extent = timeline[-1].at_s + stretch_s or 1.0
    ticks = count_ticks(max(moment.completed + moment.failed for moment in timeline))
    bars = "".join(_stack(moment, stretch_s, extent, ticks[-1]) for moment in timeline)
    times = [(100 * at / extent, words.duration(at)) for at in _few(time_ticks(extent))]
    completed = sum(moment.completed for moment in timeline)
    failed = sum(moment.failed for moment in timeline)
    title = (
        f"Rows ended per {words.duration(stretch_s)} over {words.duration(extent)}: "
        f"{words.count(completed)} completed, {words.count(failed)} failed"
    )
    return _svg(title, _across(ticks) + bars + _along(times))


def histogram_chart(buckets: Sequence[Bucket], what: str) -> str:
    """How many rows took how long; at least one bucket, all equally wide whatever they span."""
    ticks = count_ticks(max(bucket.count for bucket in buckets))
    width = 100 / len(buckets)
    bars = "".join(
        _bar(bucket, place * width, width, ticks[-1]) for place, bucket in enumerate(buckets)
    )
    bounds = [buckets[0].above, *(bucket.upto for bucket in buckets)]
    labels = [(place * width, words.duration(bound)) for place, bound in enumerate(bounds)]
    rows = words.counted(sum(bucket.count for bucket in buckets), "row")
    lowest, highest = words.duration(bounds[0]), words.duration(bounds[-1])
    title = f"{what}: {rows} between {lowest} and {highest}"
    return _svg(title, _across(ticks) + bars + _along(_few(labels)))


def share_bar(part: int, largest: int, title: str) -> str:
    """A line as long as a part of the largest in its list."""
    width = 100 * part / largest if largest else 0
    return (
        f'<svg class="share" role="img" aria-label="{escape(title)}" width="100%" height="14">'
        f"<title>{escape(title)}</title>"
        f'<rect class="bar" x="0" y="0" width="{width:.3f}%" height="14"/></svg>'
    )


def _svg(title: str, content: str) -> str:
    return (
        f'<svg class="chart" role="img" aria-label="{escape(title)}" height="{_BOTTOM + _BELOW}">'
        f"<title>{escape(title)}</title>{content}</svg>"
    )


def _stack(moment: Moment, stretch_s: float, extent: float, top: int) -> str:
    slot = 100 * stretch_s / extent
    left, width = 100 * moment.at_s / extent + slot * (1 - _FILLED) / 2, slot * _FILLED
    completed, failed = (PLOT_HEIGHT * part / top for part in (moment.completed, moment.failed))
    ended = moment.completed + moment.failed
    title = (
        f"From {words.duration(moment.at_s)}: {words.count(moment.completed)} completed, "
        f"{words.count(moment.failed)} failed, {words.rate(ended, stretch_s)}"
    )
    parts = [
        _rect("completed", left, _BOTTOM - completed, width, completed),
        _rect("failed", left, _BOTTOM - completed - failed, width, failed),
    ]
    if moment.failed:
        height = _BOTTOM - completed - failed - 6
        middle = left + width / 2
        parts.append(f'<circle class="mark" cx="{middle:.3f}%" cy="{height:.2f}" r="3"/>')
    return f"<g><title>{escape(title)}</title>{''.join(parts)}</g>"


def _bar(bucket: Bucket, left: float, slot: float, top: int) -> str:
    height = PLOT_HEIGHT * bucket.count / top
    title = (
        f"{words.duration(bucket.above)} to {words.duration(bucket.upto)}: "
        f"{words.counted(bucket.count, 'row')}"
    )
    drawn = _rect("bar", left + slot * (1 - _FILLED) / 2, _BOTTOM - height, slot * _FILLED, height)
    return f"<g><title>{escape(title)}</title>{drawn}</g>"


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    if not height:
        return ""
    return (
        f'<rect class="{kind}" x="{x:.3f}%" y="{y:.2f}" width="{width:.3f}%" '
        f'height="{height:.2f}"/>'
    )


def _across(ticks: Sequence[int]) -> str:
    """Lines across the plot at each tick of the counts, with its number on the left."""
    lines = []
    for tick in ticks:
        y = _BOTTOM - PLOT_HEIGHT * tick / ticks[-1]
        lines.append(
            f'<line class="grid" x1="0" x2="100%" y1="{y:.2f}" y2="{y:.2f}"/>'
            f'<text class="left" x="-8" y="{y + 4:.2f}">{words.count(tick)}</text>'
        )
    return "".join(lines)


def _along(labels: Sequence[tuple[float, str]]) -> str:
    """Words below the plot, each with a short line at its place (in per cent of the width)."""
    return "".join(
        f'<line class="tick" x1="{place:.3f}%" x2="{place:.3f}%" y1="{_BOTTOM}" '
        f'y2="{_BOTTOM + 5}"/>'
        f'<text class="below" x="{place:.3f}%" y="{_BOTTOM + 20}">{escape(label)}</text>'
        for place, label in labels
    )


def _few(labels: Sequence[_Label]) -> Sequence[_Label]:
    """So many of the labels, evenly, that they stand beside each other on a phone."""
    return labels[:: math.ceil(len(labels) / _LABELS)]
