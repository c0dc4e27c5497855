"""Run windows beside an independent reckoning, where clocks are set on or back."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.batch.windows import DAYS, FAR, RunWindow

# Zones, and moments at which their clocks change (or, for the last two, do not).
CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00Z"),
    ("America/New_York", "2026-03-08T07:00Z"),
    ("America/New_York", "2026-11-01T06:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00Z"),
    ("Antarctica/Troll", "2026-03-29T01:00Z"),
    ("Antarctica/Troll", "2026-10-25T01:00Z"),
    ("America/Havana", "2026-03-08T05:00Z"),  # there is no 00:00
    ("America/Havana", "2026-11-01T05:00Z"),  # 00:00 comes twice
    ("America/Sao_Paulo", "2018-02-18T02:00Z"),  # at midnight back to yesterday
    ("Pacific/Apia", "2011-12-30T10:00Z"),  # there is no 30 December
    ("Europe/Berlin", "2050-10-30T01:00Z"),  # beyond the listed changes: by rule
    ("Asia/Kathmandu", "2026-06-01T18:15Z"),
    ("UTC", "2026-06-01T00:00Z"),
]
MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)
BEFORE_MINUTES = 4 * 1440
TABLE_MINUTES = BEFORE_MINUTES + 20 * 1440


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class Case(msgspec.Struct, frozen=True):
    """A window, written and in parts, and a moment near a change of its clock."""

    days: frozenset[int]
    start: int
    end: int
    zone: str
    change: str
    microseconds: int

    @property
    def at(self) -> datetime:
        return moment(self.change) + timedelta(microseconds=self.microseconds)

    @property
    def window(self) -> RunWindow:
        days = ",".join(DAYS[day] for day in sorted(self.days))
        return RunWindow.parse(f"{days} {clock(self.start)}-{clock(self.end)} {self.zone}", "x")


def clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


# The independent reckoning: minute after minute on a clock that waits where it is set back, until
# the time it had shown comes again, and a table of the week's minutes that are open.


@cache
def clock_minutes(zone: str, change: str) -> list[int]:
    """What a clock that never goes back shows, in minutes of the week, each minute."""
    at = moment(change) - timedelta(minutes=BEFORE_MINUTES)
    furthest = datetime.min
    shown = []
    for _ in range(TABLE_MINUTES):
        furthest = max(furthest, at.astimezone(ZoneInfo(zone)).replace(tzinfo=None))
        shown.append(furthest.weekday() * 1440 + furthest.hour * 60 + furthest.minute)
        at += MINUTE
    return shown


def open_minutes(case: Case) -> list[bool]:
    """Each minute around the change: whether the window is open in it."""
    week = [False] * (7 * 1440)
    for day in case.days:
        minute = day * 1440 + case.start
        while True:
            week[minute % len(week)] = True
            minute += 1
            if minute % 1440 == case.end % 1440:
                break
    return [week[minute] for minute in clock_minutes(case.zone, case.change)]


def index(case: Case, at: datetime) -> int:
    return (at - moment(case.change)) // MINUTE + BEFORE_MINUTES


MINUTES = st.integers(0, 1439) | st.integers(0, 16).map(lambda quarter: quarter * 15)
NEAR = st.integers(-7_200_000_000, 7_200_000_000)
NEARBY = st.integers(-3 * 86_400_000_000, 3 * 86_400_000_000)
WHOLE = st.integers(-300, 300).map(lambda minutes: minutes * 60_000_000)
CASES = st.builds(
    lambda days, start, end, where, microseconds: Case(
        days, start, end, where[0], where[1], microseconds
    ),
    st.frozensets(st.integers(0, 6), min_size=1) | st.just(frozenset(range(7))),
    MINUTES,
    MINUTES | st.just(1440),
    st.sampled_from(CHANGES),
    NEAR | NEARBY | WHOLE,
).filter(lambda case: case.start != case.end)
# A gap swallows this one for a day; and a week-end's change of the clock lies between two days.
SWALLOWED = Case(frozenset({6}), 130, 170, "Europe/Berlin", "2026-03-29T01:00Z", -1)
TOUCHING = Case(frozenset({5, 6}), 0, 1440, "America/Havana", "2026-11-01T05:00Z", 0)


@given(CASES)
@example(SWALLOWED)
@example(TOUCHING)
@settings(max_examples=300, deadline=None)
def test_it_is_open_when_the_clock_of_its_zone_says_so(case: Case) -> None:
    assert case.window.is_open(case.at) is open_minutes(case)[index(case, case.at)]


@given(CASES, st.integers(0, 999))
@example(SWALLOWED, 500)
@example(TOUCHING, 500)
@settings(max_examples=300, deadline=None)
def test_nothing_changes_before_the_next_change_and_then_it_does(case: Case, part: int) -> None:
    run_window, at = case.window, case.at
    was = run_window.is_open(at)
    change = run_window.next_change(at)
    assert change > at and change.tzinfo is UTC
    if change == FAR:
        assert all(open_minutes(case))
        return
    assert run_window.is_open(change) is not was
    assert run_window.is_open(change - TICK) is was
    assert run_window.is_open(at + (change - at) * part // 1000) is was
    assert index(case, change) == open_minutes(case).index(not was, index(case, at))
    assert (change - moment(case.change)) % MINUTE == timedelta(0)


@given(CASES)
@example(SWALLOWED)
@settings(max_examples=200, deadline=None)
def test_it_opens_now_or_at_the_change_that_comes_next(case: Case) -> None:
    opens = case.window.opens_at(case.at)
    assert case.window.is_open(opens)
    assert opens == (case.at if case.window.is_open(case.at) else case.window.next_change(case.at))


@given(CASES)
@settings(max_examples=100, deadline=None)
def test_a_moment_is_the_same_one_in_whatever_zone_it_is_written(case: Case) -> None:
    local = case.at.astimezone(ZoneInfo(case.zone))
    assert case.window.is_open(local) is case.window.is_open(case.at)
    assert case.window.next_change(local) == case.window.next_change(case.at)
    assert case.window.opens_at(local).astimezone(UTC) == case.window.opens_at(case.at)
