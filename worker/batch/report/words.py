"""Numbers, durations and strangers' text, as people read them."""

import math
import re

# C0 and C1 move a terminal's cursor; bidirectional overrides turn the rest of a line around;
# half a surrogate pair cannot be encoded.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_BREAKS = re.compile("[\t\r\n]+")
UNKNOWN = "—"


def plain(text: str) -> str:
    """A stranger's text as one line that does nothing but show itself."""
    return _UNSAFE.sub("\ufffd", _LINE_BREAKS.sub(" ", text))


def shortened(text: str, limit: int) -> str:
    """The text, or its first `limit - 1` characters and an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def count(number: int | None) -> str:
    """A whole number with thousands separators; a dash for an unknown one."""
    return UNKNOWN if number is None else f"{number:,}"


def counted(number: int, thing: str) -> str:
    """A number of things whose plural takes an `s`: `1 row`, `1,200 rows`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def share(part: float, whole: float) -> str:
    """A part in per cent of the whole. It is 0 % or 100 % only where nothing or all is meant."""
    if whole <= 0:
        return UNKNOWN
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:,.1f} %".replace(".0 %", " %")


def rate(rows: int, seconds: float | None) -> str:
    """Rows per second, with three digits that say something."""
    if not seconds or seconds < 0:
        return UNKNOWN
    per_second = rows / seconds
    decimals = 0 if per_second >= 100 or per_second == 0 else 1 if per_second >= 10 else 2
    return (
        f"{per_second:,.{decimals}f} rows/s" if per_second >= 0.01 or not rows else "< 0.01 rows/s"
    )


def money(amount: float | None) -> str:
    """An amount in the currency of the prices, with two decimals, or more below one."""
    if amount is None:
        return UNKNOWN
    if amount == 0 or abs(amount) >= 1:
        return f"{amount:,.2f}"
    return f"{amount:.4f}" if abs(amount) >= 0.0001 else f"{amount:.2g}"


def duration(seconds: float | None) -> str:
    """A time in the two largest units that matter: `120 ms`, `3.4 s`, `1 h 12 min`."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN if seconds is None else "∞"
    if seconds < 0.9995:
        return _milliseconds(seconds)
    if seconds < 59.95:
        return f"{round(seconds, 1):g} s"
    if round(seconds) < 3600:
        return _two(round(seconds), 60, "min", "s")
    if round(seconds / 60) < 24 * 60:
        return _two(round(seconds / 60), 60, "h", "min")
    return _two(round(seconds / 3600), 24, "d", "h")


def _milliseconds(seconds: float) -> str:
    if seconds <= 0:
        return "0 s"
    return f"{round(seconds * 1000)} ms" if seconds >= 0.001 else "< 1 ms"


def _two(number: int, size: int, large: str, small: str) -> str:
    whole, rest = divmod(number, size)
    return f"{whole:,} {large} {rest} {small}" if rest else f"{whole:,} {large}"
