"""How long the upstream asked us to wait: five sources, the most exact first.

    retry-after-ms                    milliseconds (OpenAI, Azure)
    retry-after                       seconds, or an HTTP date against the response's own Date
    RetryInfo.retryDelay              `34.4s` (google.rpc)
    the message                       "try again in 6m0s", "retry after 37 seconds"
    x-ratelimit-reset-*               when the bucket is full again: an upper bound, and only for
                                      a bucket that is empty

NaN, infinity, zero, negative values and garbage are as good as nothing: the next source is asked.
A wait of years is one all the same, and so is taken for the longest that is believed.
"""

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST_WAIT_S = 366 * 86_400.0
"""The longest limit known is a month; what is named beyond a year says only: not soon."""

_EPOCH_S, _EPOCH_MS = 1e9, 1e12
"""From here on a bare number is no duration: seconds (2001) or milliseconds since 1970."""

_BETWEEN_VALUES = re.compile(r", (?!\d{1,2}[ -][A-Za-z]{3}[ -])")
"""Between the values of several headers of one name, joined as RFC 9110 has it (5.3); the comma in
an HTTP date is none of these."""

_UNIT_S = {
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs"), 1e-6),
    "ns": 1e-9,
}
_NUMBER = r"\d{1,18}(?:\.\d{1,18})?"
_UNIT = "|".join(sorted(_UNIT_S, key=len, reverse=True))
_TERM = rf"{_NUMBER} ?(?:{_UNIT})(?![a-zµμ])"
_DURATION = rf"{_TERM}(?:[ ,]{{0,2}}(?:and )?{_TERM})*"

_TERM_PARTS = re.compile(rf"({_NUMBER}) ?({_UNIT})(?![a-zµμ])", re.ASCII | re.IGNORECASE)
_WHOLE_DURATION = re.compile(_DURATION, re.ASCII | re.IGNORECASE)
_WHOLE_NUMBER = re.compile(rf"{_NUMBER}|\.\d{{1,18}}", re.ASCII)
# A bare number counts as seconds only where the sentence ends after it: "in 3 business days".
_WAIT_PHRASE = re.compile(
    rf"(?:try again|retry) (?:in|after) ({_DURATION}|{_NUMBER}(?= ?(?:[.,;:!?)\]\"'\r\n]|$)))",
    re.ASCII | re.IGNORECASE,
)


def header_wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds by `retry-after-ms` or `retry-after`; header names in lower case.

    Of several of one name, as a server and a proxy before it may each add one, the longest.
    """
    return _longest(_milliseconds(value) for value in _values(headers, "retry-after-ms")) or (
        _longest(_retry_after(value, headers) for value in _values(headers, "retry-after"))
    )


def body_wait_s(details: Sequence[Mapping[str, object]], message: str) -> float | None:
    """Seconds by google.rpc.RetryInfo, else by the wording of the message."""
    for detail in details:
        if str(detail.get("@type", "")).endswith("RetryInfo"):
            wait = _usable(_duration(str(detail.get("retryDelay", ""))))
            if wait is not None:
                return wait
    phrase = _WAIT_PHRASE.search(message)
    return _usable(_duration(phrase[1])) if phrase else None


def reset_wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds until the last of the empty buckets is full; None where none is known empty."""
    return _longest(until_reset_s(reset, headers) for reset in _exhausted_resets(headers))


def until_reset_s(reset: str, headers: Mapping[str, str]) -> float | None:
    """Seconds until a reset that is written as a duration, in seconds or as a moment."""
    return _usable(_until(reset, headers))


def units(value: str) -> float | None:
    """A limit, or what is left of it; None for what is no number. Below nothing is nothing."""
    return 0.0 if value.strip().startswith("-") else _number(value)


def _values(headers: Mapping[str, str], name: str) -> list[str]:
    return _BETWEEN_VALUES.split(headers.get(name, ""))


def _milliseconds(value: str) -> float | None:
    number = _number(value)
    return None if number is None else _usable(number / 1_000)


def _retry_after(value: str, headers: Mapping[str, str]) -> float | None:
    seconds = _number(value)
    if seconds is None:
        instant = _http_date(value.strip())
        seconds = None if instant is None else instant - _response_time(headers)
    return _usable(seconds)


def _longest(waits: Iterable[float | None]) -> float | None:
    return max((wait for wait in waits if wait is not None), default=None)


def _exhausted_resets(headers: Mapping[str, str]) -> Iterator[str]:
    """`...-reset...` beside a `...-remaining...` of nothing, whichever part stands last:
    `x-ratelimit-remaining-tokens` (OpenAI), `anthropic-ratelimit-tokens-remaining`."""
    for name, value in headers.items():
        if "ratelimit" in name and "-remaining" in name and units(value) == 0:
            yield headers.get(name.replace("-remaining", "-reset"), "")


def _until(reset: str, headers: Mapping[str, str]) -> float | None:
    # The server's clock is read where a moment is written: most resets are durations.
    reset = reset.strip()
    number = _number(reset)
    if number is None:
        instant = _rfc3339(reset)
        return _duration(reset) if instant is None else instant - _response_time(headers)
    if number > _EPOCH_MS:
        return number / 1_000 - _response_time(headers)
    return number - _response_time(headers) if number > _EPOCH_S else number


def _duration(text: str) -> float | None:
    text = text.strip()
    if _WHOLE_DURATION.fullmatch(text):
        return sum(float(n) * _UNIT_S[unit.lower()] for n, unit in _TERM_PARTS.findall(text))
    return _number(text)


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if _WHOLE_NUMBER.fullmatch(text) else None


def _usable(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds):
        return None
    rounded = round(seconds, 6)  # a nanosecond is nothing, too
    return min(rounded, _LONGEST_WAIT_S) if rounded > 0 else None


def _response_time(headers: Mapping[str, str]) -> float:
    """The server's clock where it shows it: ours may be minutes off."""
    instant = _http_date(headers.get("date", ""))
    return time.time() if instant is None else instant


def _http_date(text: str) -> float | None:
    try:
        return _timestamp(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _rfc3339(text: str) -> float | None:
    try:
        return _timestamp(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _timestamp(instant: datetime) -> float:
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
