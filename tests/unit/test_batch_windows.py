"""Completion windows, and run windows in local time: read as written, or refused."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.batch.windows import FAR, RunWindow, duration_s
from worker.errors import InvalidRequest

TICK = timedelta(microseconds=1)


def utc(day: int, hour: int, minute: int = 0, month: int = 6) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def window(text: str) -> RunWindow:
    return RunWindow.parse(text, "run_window")


def hours_open(text: str, around: datetime) -> float:
    """How long the first opening after a moment lasts."""
    opens = window(text).opens_at(around)
    return (window(text).next_change(opens) - opens) / timedelta(hours=1)


def test_a_night_has_eight_hours_nine_in_autumn_and_seven_in_spring() -> None:
    night = "22:00-06:00 Europe/Berlin"
    assert hours_open(night, utc(10, 12)) == 8
    assert hours_open(night, utc(24, 12, month=10)) == 9
    assert hours_open(night, utc(28, 12, month=3)) == 7


def test_a_time_that_does_not_exist_is_the_first_moment_after_the_gap() -> None:
    noon = utc(28, 12, month=3)
    after_gap = utc(29, 1, month=3)
    assert window("02:30-04:00 Europe/Berlin").opens_at(noon) == after_gap
    late = window("01:00-02:30 Europe/Berlin")
    assert late.next_change(late.opens_at(noon)) == after_gap


def test_a_window_within_a_gap_does_not_open_on_that_day() -> None:
    sundays = window("sun 02:10-02:50 Europe/Berlin")
    assert sundays.opens_at(utc(28, 12, month=3)) == utc(5, 0, 10, month=4)


def test_a_time_that_exists_twice_opens_and_closes_at_its_first_occurrence() -> None:
    noon = utc(24, 12, month=10)
    opening = window("02:30-04:00 Europe/Berlin")
    assert opening.opens_at(noon) == utc(25, 0, 30, month=10)
    assert opening.next_change(utc(25, 0, 30, month=10)) == utc(25, 3, month=10)
    closing = window("01:00-02:30 Europe/Berlin")
    assert closing.next_change(closing.opens_at(noon)) == utc(25, 0, 30, month=10)
    assert not closing.is_open(utc(25, 1, 15, month=10))


def test_the_second_occurrence_of_a_time_is_told_from_the_first() -> None:
    closing = window("01:00-02:30 Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 15, tzinfo=ZoneInfo("Europe/Berlin"))
    assert closing.is_open(first) and not closing.is_open(first.replace(fold=1))


def test_days_that_touch_are_one_opening() -> None:
    weekend = window("sat,sun 00:00-24:00 UTC")
    assert weekend.opens_at(utc(10, 0)) == utc(13, 0)
    assert weekend.next_change(utc(13, 0)) == utc(15, 0)
    assert weekend.next_change(utc(15, 0)) == utc(20, 0)


def test_days_name_the_day_on_which_it_opens() -> None:
    fridays = window("fri 22:00-06:00")
    assert fridays.is_open(utc(13, 5, 59)) and not fridays.is_open(utc(13, 6))
    assert not fridays.is_open(utc(12, 5))


def test_it_holds_the_moment_of_its_opening_and_not_that_of_its_closing() -> None:
    morning = window("08:30-12:00")
    assert not morning.is_open(utc(10, 8, 30) - TICK)
    assert morning.is_open(utc(10, 8, 30)) and morning.is_open(utc(10, 12) - TICK)
    assert not morning.is_open(utc(10, 12))
    assert morning.next_change(utc(10, 8, 30)) == utc(10, 12)


def test_a_window_that_is_always_open_changes_in_the_year_9999() -> None:
    always = window("00:00-24:00 Australia/Lord_Howe")
    at = utc(10, 12)
    assert always.is_open(at) and always.opens_at(at) is at
    assert always.next_change(at) == FAR == datetime(9999, 1, 1, tzinfo=UTC)
    assert always == window("tue-mon 00:00-24:00 australia/lord_howe")


@pytest.mark.parametrize("year", [2, 1850, 2100, 9998])
def test_it_can_be_asked_about_any_year_there_is_need_for(year: int) -> None:
    at = datetime(year, 6, 1, 12, tzinfo=UTC)
    daily = window("10:00-11:00 UTC")
    assert daily.opens_at(at) == datetime(year, 6, 2, 10, tzinfo=UTC)
    assert window("22:00-06:00 Asia/Kathmandu").next_change(at) > at


@pytest.mark.parametrize(
    ("text", "days", "start", "end", "zone"),
    [
        ("22:00-06:00 Europe/Berlin", "0123456", 22 * 60, 30 * 60, "Europe/Berlin"),
        ("mon-fri 22:00-06:00 Europe/Berlin", "01234", 22 * 60, 30 * 60, "Europe/Berlin"),
        ("sat,sun 00:00-24:00 UTC", "56", 0, 1440, "UTC"),
        ("mon,wed-fri 08:30-12:00", "0234", 510, 720, "UTC"),
        ("fri-mon 00:00-00:01", "4560", 0, 1, "UTC"),
        ("Sun-MON 23:59-24:00", "60", 1439, 1440, "UTC"),
        ("tue-tue 22:00-00:00", "1", 22 * 60, 1440, "UTC"),
        ("mon,mon,sun-mon  01:00-02:00  europe/berlin", "06", 60, 120, "Europe/Berlin"),
        ("01:00-00:59 Etc/GMT+12", "0123456", 60, 1440 + 59, "Etc/GMT+12"),
    ],
)
def test_a_window_is_read_as_it_is_written(
    text: str, days: str, start: int, end: int, zone: str
) -> None:
    assert window(text) == RunWindow(frozenset(map(int, days)), start, end, zone)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "is null; write it like 'mon-fri 22:00-06:00 Europe/Berlin'"),
        (b"22:00-06:00", "is of type bytes; write it like"),
        ("", "is '', no run window; write it like"),
        ("mon-fri", "is 'mon-fri', no run window"),
        ("22-06", "no run window"),
        ("22:00 - 06:00", "no run window"),
        (" 22:00-06:00", "no run window"),
        ("22:00-06:00\n", "no run window"),
        ("22:00-06:00 Europe/Berlin now", "no run window"),
        ("mon, tue 22:00-06:00", "no run window"),
        ("٢٢:00-06:00", "no run window"),
        ("22:00-06:00 " + "a" * 117, "is a text of 129 characters; give at most 128"),
        ("22:00-22:00", "ends at '22:00', when it starts; write 00:00-24:00 for the whole day"),
        ("00:00-00:00 UTC", "ends at '00:00', when it starts"),
        ("24:00-06:00", "has the time '24:00'; give 00:00 to 23:59"),
        ("22:00-24:01", "has the time '24:01'"),
        ("22:60-23:00", "has the time '22:60'"),
        ("monday 22:00-06:00", "names the day 'monday'; use mon, tue, wed"),
        ("mon-fri-sun 22:00-06:00", "names the day 'fri-sun'"),
        ("mon,,tue 22:00-06:00", "names the day ''"),
        ("mon- 22:00-06:00", "names the day ''"),
        ("22:00-06:00 Europe/Berlln", "names the time zone 'Europe/Berlln'; name one like Europe/"),
        ("22:00-06:00 +02:00", "names the time zone '+02:00'"),
        ("22:00-06:00 ../../etc/passwd", "names the time zone '../../etc/passwd'"),
        ("22:00-06:00 Europe", "names the time zone 'Europe'"),
        ("22:00-06:00 right/Europe/Berlin", "names the time zone 'right/Europe/Berlin'"),
        ("22:00-06:00 localtime", "names the time zone 'localtime'"),
        ("22:00-06:00 \x00\ud800", "names the time zone '\\x00\\ud800'"),
    ],
)
def test_what_is_no_window_is_refused_with_what_to_write(given: object, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        RunWindow.parse(given, "run_window")
    assert str(caught.value).startswith("run_window: ") and said in str(caught.value)


TOKENS = ["mon", "fri", "-", ",", " ", "22:00", "06:00", "24:00", "99:99", "UTC", "Asia/Tokyo", "x"]


@given(st.text(max_size=140) | st.lists(st.sampled_from(TOKENS), max_size=9).map("".join))
def test_any_text_is_a_window_that_opens_within_a_week_or_is_refused(text: str) -> None:
    try:
        run_window = window(text)
    except InvalidRequest as refused:
        assert refused.field == "run_window" and refused.remedy
    else:
        assert run_window.opens_at(utc(10, 12)) <= utc(17, 12)


def test_a_moment_without_a_zone_is_not_guessed_at() -> None:
    naive = utc(10, 12).replace(tzinfo=None)
    always = window("00:00-24:00")
    for ask in (always.is_open, always.next_change, always.opens_at):
        with pytest.raises(ValueError, match="has no time zone; give an aware datetime"):
            ask(naive)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86_400),
        ("90m", 5400),
        ("2d", 172_800),
        ("1h30m", 5400),
        ("60s", 60),
        ("1m", 60),
        ("0h1m", 60),
        ("1d2h3m4s", 93_784),
        ("30d", 2_592_000),
        ("2592000s", 2_592_000),
        ("0000000000000000000000000000060s", 60),
    ],
)
def test_a_completion_window_is_told_in_seconds(text: str, seconds: int) -> None:
    assert duration_s(text, "completion_window") == seconds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (24, "is 24; write it like 24h, 1h30m or 2d"),
        (None, "is null; write it like"),
        ("", "is '', no length of time; write it like"),
        ("24", "is '24', no length of time"),
        ("h", "no length of time"),
        ("24H", "no length of time"),
        ("1w", "no length of time"),
        ("1.5h", "no length of time"),
        ("-1h", "no length of time"),
        ("1h 30m", "no length of time"),
        ("30m1h", "no length of time"),
        ("1h1h", "no length of time"),
        ("24h\n", "no length of time"),
        ("٢h", "no length of time"),
        ("1" * 32 + "h", "no length of time"),
        ("9" * 5000 + "h", "is a text of 5,001 characters, no length of time"),
        ("45s", "is '45s'; give at least 60s"),
        ("0d", "is '0d'; give at least 60s"),
        ("30d1s", "is '30d1s'; give at most 30d"),
        ("9" * 31 + "d", "give at most 30d"),
    ],
)
def test_what_is_no_completion_window_is_refused(given: object, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        duration_s(given, "completion_window")
    assert str(caught.value).startswith("completion_window: ") and said in str(caught.value)


@given(st.integers(60, 2_592_000))
def test_any_number_of_seconds_within_bounds_can_be_written(seconds: int) -> None:
    parts = f"{seconds // 86_400}d{seconds // 3600 % 24}h{seconds // 60 % 60}m{seconds % 60}s"
    assert duration_s(parts, "x") == duration_s(f"{seconds}s", "x") == seconds
