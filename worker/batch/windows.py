"""When a batch may be dispatched: completion windows, and daily run windows in local time.

Daylight saving, in one rule: a clock time stands for the first moment at which the local clock has
got that far. So a time that does not exist (spring) is the first moment after the gap, and a time
that exists twice (autumn) opens and closes at its first occurrence. The rule keeps the order of
clock times: windows that do not overlap on the clock never overlap, and those that touch still do.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import count
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from worker.errors import InvalidRequest
from worker.request.values import shown

SHORTEST_S = 60
LONGEST_S = 30 * 86_400
MOST_DURATION = 32
MOST_WINDOW = 128

# "Never again": far enough from the last date there is for local times around it to exist.
FAR = datetime(9999, 1, 1, tzinfo=UTC)
BEGINNING = datetime(1, 1, 10, tzinfo=UTC)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
# What the machine's own settings decide is another zone on another machine.
NO_ZONES = {"localtime", "factory"}

DURATION = re.compile("(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")
UNITS_S = (86_400, 3600, 60, 1)
WINDOW = re.compile(
    "(?:(?P<days>[^ :]+) +)?"
    "(?P<start>[0-9]{2}:[0-9]{2})-(?P<end>[0-9]{2}:[0-9]{2})"
    "(?: +(?P<zone>[^ ]+))?"
)
REMEDY = "write it like 'mon-fri 22:00-06:00 Europe/Berlin'"


def duration_s(given: object, field: str) -> int:
    """A completion window like `24h`, `1h30m` or `2d`, in seconds.

    Units are d, h, m and s, each at most once, the larger first, without spaces.

    Raises:
        InvalidRequest: it is none, is shorter than a minute, or longer than 30 days.
    """
    remedy = "write it like 24h, 1h30m or 2d"
    if not isinstance(given, str):
        raise InvalidRequest(field, f"is {shown(given)}", remedy)
    match = DURATION.fullmatch(given) if 0 < len(given) <= MOST_DURATION else None
    if match is None:
        raise InvalidRequest(field, f"is {shown(given)}, no length of time", remedy)
    seconds = sum(
        int(many) * unit_s for many, unit_s in zip(match.groups("0"), UNITS_S, strict=True)
    )
    if seconds < SHORTEST_S:
        raise InvalidRequest(field, f"is {shown(given)}", "give at least 60s")
    if seconds > LONGEST_S:
        raise InvalidRequest(field, f"is {shown(given)}", "give at most 30d")
    return seconds


class RunWindow(msgspec.Struct, frozen=True):
    """The hours of a day, or of some days of the week, in which a batch may be dispatched.

    Made by `parse`, which checks what the constructor takes on trust. Moments are aware datetimes,
    from the year 2 to the year 9998; a window holds the moment at which it opens, not that at which
    it closes.

    Attributes:
        days: the days on which it opens, 0 (Monday) to 6.
        start: minutes after midnight, on the clock, at which it opens.
        end: the same for its end; above 1,440 it ends on the next day.
        zone: the IANA name of the time zone whose clock is meant.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: str

    @classmethod
    def parse(cls, given: object, field: str) -> "RunWindow":
        """The window that a text like `mon-fri 22:00-06:00 Europe/Berlin` describes.

        Without days it opens daily, without a zone its times are UTC. Days may be listed
        (`sat,sun`) and be ranges, which may wrap (`fri-mon`).

        Raises:
            InvalidRequest: the text is malformed, too long, ends when it starts, or names a day
                or a zone that there is not.
        """
        if not isinstance(given, str):
            raise InvalidRequest(field, f"is {shown(given)}", REMEDY)
        if len(given) > MOST_WINDOW:
            raise InvalidRequest(
                field, f"is {shown(given)}", f"give at most {MOST_WINDOW} characters"
            )
        match = WINDOW.fullmatch(given)
        if match is None:
            raise InvalidRequest(field, f"is {shown(given)}, no run window", REMEDY)
        start = _minutes(match["start"], field, DAY_MINUTES - 1)
        end = _minutes(match["end"], field, DAY_MINUTES)
        if start == end:
            raise InvalidRequest(
                field,
                f"ends at {shown(match['end'])}, when it starts",
                "write 00:00-24:00 for the whole day",
            )
        return cls(
            days=_days(match["days"] or "mon-sun", field),
            start=start,
            end=end if end > start else end + DAY_MINUTES,
            zone=_zone(match["zone"] or "UTC", field),
        )

    def is_open(self, at: datetime) -> bool:
        """Whether a batch may be dispatched at this moment.

        Raises:
            ValueError: the moment is not aware.
        """
        at = _utc(at)
        return self._opening(at)[0] <= at

    def next_change(self, at: datetime) -> datetime:
        """The next moment after `at`, in UTC, at which `is_open` changes.

        A window that is always open never does: the answer is `FAR`, the start of the year 9999.

        Raises:
            ValueError: the moment is not aware.
        """
        at = _utc(at)
        opens, closes = self._opening(at)
        return opens if opens > at else closes

    def opens_at(self, at: datetime) -> datetime:
        """`at` itself where the window is open, else the next moment, in UTC, at which it opens.

        Raises:
            ValueError: the moment is not aware.
        """
        opens, _ = self._opening(_utc(at))
        return opens if opens > at else at

    def _opening(self, at: datetime) -> tuple[datetime, datetime]:
        """When it opens and closes: the opening under way, or else the next one."""
        if len(self.days) == len(DAYS) and self.end - self.start == DAY_MINUTES:
            return BEGINNING, FAR
        openings = (each for each in self._openings(at) if each[1] > at)
        opens, closes = next(openings)
        for later, end in openings:
            if later > closes:
                break
            closes = end
        return opens, closes

    def _openings(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Each day's opening, in order, from one that is surely over at `at`."""
        zone = ZoneInfo(self.zone)
        # A window of yesterday may still be open, and a clock set back may show yesterday's date.
        first = at.astimezone(zone).date() - timedelta(days=2)
        for day in (first + timedelta(days=ahead) for ahead in count()):
            if day.weekday() not in self.days:
                continue
            opens, closes = _moment(day, self.start, zone), _moment(day, self.end, zone)
            # A gap may swallow a window.
            if opens < closes:
                yield opens, closes


def _utc(at: datetime) -> datetime:
    # Moments of one zone compare by their clock times, which is wrong where the clock is set back.
    if at.utcoffset() is None:
        raise ValueError(f"{at.isoformat()} has no time zone; give an aware datetime")
    return at.astimezone(UTC)


def _moment(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """The first moment, in UTC, at which the clock has got to some minutes after midnight."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    # In a gap the first reading (fold 0) lies at or after the gap, the second before it.
    low = int(wall.replace(tzinfo=zone, fold=1).timestamp())
    high = int(moment.timestamp())
    before = datetime.fromtimestamp(low, zone).utcoffset()
    ahead = bisect_left(
        range(low, high),
        True,
        key=lambda second: datetime.fromtimestamp(second, zone).utcoffset() != before,
    )
    return datetime.fromtimestamp(low + ahead, UTC)


def _minutes(clock: str, field: str, most: int) -> int:
    hours, minutes = int(clock[:2]), int(clock[3:])
    total = hours * 60 + minutes
    if minutes > 59 or total > most:
        raise InvalidRequest(
            field,
            f"has the time {shown(clock)}",
            "give 00:00 to 23:59; a window may end at 24:00, too",
        )
    return total


def _days(names: str, field: str) -> frozenset[int]:
    days: set[int] = set()
    for part in names.split(","):
        first, dash, last = part.partition("-")
        start = _day(first, field)
        length = (_day(last, field) - start) % len(DAYS) if dash else 0
        days.update((start + ahead) % len(DAYS) for ahead in range(length + 1))
    return frozenset(days)


def _day(name: str, field: str) -> int:
    if name.lower() not in DAYS:
        raise InvalidRequest(
            field, f"names the day {shown(name)}", f"use {', '.join(DAYS)}, or mon-fri"
        )
    return DAYS.index(name.lower())


def _zone(name: str, field: str) -> str:
    known = _zones().get(name.lower())
    if known is None:
        raise InvalidRequest(
            field, f"names the time zone {shown(name)}", "name one like Europe/Berlin, or UTC"
        )
    return known


@cache
def _zones() -> dict[str, str]:
    # By list, never by opening what the caller names: that is a path below the zones' folder, and
    # some systems keep zones with leap seconds there.
    names = {name.lower(): name for name in available_timezones()}
    return {low: name for low, name in names.items() if low not in NO_ZONES}
