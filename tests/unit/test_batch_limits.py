"""What holds a batch back: the cap is kept by the dearest row, failures say nothing too early."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.batches import batch
from worker.batch.limits import ANY, Pause, PauseReason, allowed
from worker.store import Recent

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)  # a Monday
NOTHING = Recent()
COST = st.floats(0, 100)


def asked(released: int = 0, recent: Recent = NOTHING, now: datetime = NOW, **fields: object):
    known = {"expires_at": NOW + timedelta(hours=1), **fields}
    return allowed(batch(**known), released, recent, now)


def test_nothing_holds_back_a_batch_without_limits() -> None:
    assert asked() == ANY
    assert asked(1000, Recent(completed=5, failed=10**6, cost=1e9, highest=1e6)) == ANY


def test_a_paused_or_expired_batch_gets_nothing() -> None:
    assert asked(paused_at=NOW) == 0
    assert asked(paused_at=NOW, max_cost=1.0, tally={"cost": 9.0}) == 0  # its reason stays
    assert asked(expires_at=NOW) == 0
    assert asked(expires_at=NOW + timedelta(seconds=1)) == ANY


@pytest.mark.parametrize(
    ("window", "now", "is_open"),
    [
        ("10:00-13:00", NOW, True),
        ("12:00-13:00", NOW, True),
        ("10:00-12:00", NOW, False),
        ("22:00-06:00", NOW, False),
        ("22:00-06:00", NOW.replace(hour=23), True),
        ("mon-fri 00:00-24:00", NOW, True),
        ("sat,sun 00:00-24:00", NOW, False),
        ("13:30-15:00 Europe/Berlin", NOW, True),
    ],
)
def test_only_within_its_run_window_a_batch_gets_rows(
    window: str, now: datetime, is_open: bool
) -> None:
    expires = NOW + timedelta(days=2)
    assert asked(now=now, run_window=window, expires_at=expires) == (ANY if is_open else 0)


@pytest.mark.parametrize(
    ("tally", "recent", "paused"),
    [
        ({"failed": 19}, NOTHING, False),
        ({"failed": 20}, NOTHING, True),
        ({"failed": 10}, Recent(failed=10), True),
        ({"completed": 9, "failed": 11}, NOTHING, True),
        ({"completed": 10, "failed": 10}, NOTHING, False),
        ({"completed": 9}, Recent(completed=1, failed=11), True),
        (None, Recent(failed=19), False),
    ],
)
def test_the_share_of_failures_counts_from_twenty_ended_rows_on(
    tally: dict[str, object], recent: Recent, paused: bool
) -> None:
    found = asked(recent=recent, max_failed_ratio=0.5, tally=tally)
    if not paused:
        assert found == ANY
        return
    assert isinstance(found, Pause) and found.reason is PauseReason.MAX_FAILED_RATIO
    assert "max_failed_ratio 0.5" in found.message and "resume it" in found.message


def test_a_ratio_of_one_never_pauses() -> None:
    assert asked(max_failed_ratio=1.0, tally={"failed": 10**6}) == ANY


@pytest.mark.parametrize(
    ("tally", "released", "recent", "most"),
    [
        # Each row counts as much as the file's dearest may cost, however cheap the first ones are.
        ({"reserve": 2.0}, 0, NOTHING, 5),
        ({"reserve": 2.0}, 3, NOTHING, 2),
        ({"reserve": 2.0}, 5, NOTHING, 0),
        ({"reserve": 2.0, "cost": 1.0, "highest": 0.5}, 0, NOTHING, 4),
        ({"reserve": 2.0}, 0, Recent(cost=1.0, highest=1.0), 4),
        # Or as much as the dearest has, where that was more than it might.
        ({"reserve": 2.0, "highest": 3.0, "cost": 4.0}, 0, NOTHING, 2),
        ({"highest": 3.0, "cost": 4.0}, 0, Recent(cost=2.0, highest=1.0), 1),
        ({"highest": 3.0, "cost": 4.0}, 1, Recent(cost=2.0, highest=1.0), 0),
        # The last ones run alone, as long as the cap bears one like the dearest so far.
        ({"reserve": 2.0, "highest": 0.5, "cost": 9.0}, 0, NOTHING, 1),
        ({"reserve": 2.0, "highest": 0.5, "cost": 9.5}, 0, NOTHING, 1),
        ({"reserve": 2.0, "highest": 0.5, "cost": 9.0}, 1, NOTHING, 0),
        # What runs is waited for, even beyond the cap.
        ({"highest": 3.0, "cost": 40.0}, 1, NOTHING, 0),
        # Free of charge, so far.
        ({}, 0, NOTHING, ANY),
        ({}, 10, NOTHING, ANY),
    ],
)
def test_a_spending_cap_bears_so_many_rows_more(
    tally: dict[str, object], released: int, recent: Recent, most: int
) -> None:
    assert asked(released, recent, max_cost=10.0, tally=tally) == most


@pytest.mark.parametrize(
    "tally",
    [
        {"cost": 10.0, "highest": 1.0},
        {"cost": 9.5, "highest": 1.0},
        {"cost": 9.5, "highest": 1.0, "reserve": 2.0},
        {"cost": 10.0},
    ],
)
def test_a_batch_is_paused_when_nothing_runs_and_another_row_may_exceed_the_cap(
    tally: dict[str, object],
) -> None:
    found = asked(max_cost=10.0, tally=tally)
    assert isinstance(found, Pause) and found.reason is PauseReason.MAX_COST
    assert "of max_cost 10 are spent" in found.message and "resume it" in found.message


@given(
    cap=st.floats(0.01, 1e6),
    cost=COST,
    highest=st.floats(0.001, 100),
    recent=COST,
    released=st.integers(0, 1000),
)
def test_the_cap_is_kept_if_no_row_costs_more_than_the_dearest_so_far(
    cap: float, cost: float, highest: float, recent: float, released: int
) -> None:
    tally = {"cost": cost, "highest": highest}
    found = asked(released, Recent(cost=recent), max_cost=cap, tally=tally)
    if isinstance(found, Pause):
        assert released == 0 and cost + recent + highest > cap * (1 - 1e-9)
        return
    assert found >= 0
    if found:
        assert cost + recent + (released + found) * highest <= cap * (1 + 1e-9)


def test_failures_are_told_before_the_cap() -> None:
    found = asked(max_cost=1.0, max_failed_ratio=0.1, tally={"failed": 99, "cost": 7.0})
    assert isinstance(found, Pause) and found.reason == "max_failed_ratio"
