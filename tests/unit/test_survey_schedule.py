"""A batch is behind when, at its pace so far, its rows take longer than its window."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models import Batch, BatchStatus
from worker.survey.schedule import behind_s, open_s

BEGAN = datetime(2030, 3, 4, 12, tzinfo=UTC)
HOUR_S = 3600.0


def running(done: int, failed: int = 0, **fields: Any) -> Batch:
    """A batch of 100 rows that has ten hours."""
    known = {
        "status": BatchStatus.IN_PROGRESS.value,
        "total": 100,
        "in_progress_at": BEGAN,
        "expires_at": BEGAN + timedelta(hours=10),
        "tally": {"completed": done, "failed": failed},
    }
    return Batch(**{**known, **fields})


@pytest.mark.parametrize(
    ("batch", "hours", "behind_h"),
    [
        (running(0), 0, 0.0),
        (running(0, tally=None), 1, 1.0),
        (running(40, 10), 5, 0.0),
        (running(30), 2, -1.0),
        (running(90), 12, 1.0),
        (running(100), 9.5, -0.5),
        # Of its ten hours only those from 18 to 22 o'clock count.
        (running(0, run_window="18:00-24:00"), 5, 0.0),
        (running(50, run_window="18:00-24:00"), 8, 0.0),
        (running(0, run_window="18:00-24:00"), 9, 3.0),
    ],
)
def test_it_is_behind_by_what_its_rows_should_have_taken_less(
    batch: Batch, hours: float, behind_h: float
) -> None:
    found = behind_s(batch, BEGAN + timedelta(hours=hours))

    assert found == pytest.approx(behind_h * HOUR_S)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": BatchStatus.FINALIZING.value},
        {"in_progress_at": None},
        {"total": 0},
        {"run_window": "02:00-03:00"},
    ],
)
def test_what_does_not_run_is_not_behind(fields: dict[str, Any]) -> None:
    assert behind_s(running(1, **fields), BEGAN + timedelta(hours=1)) is None


def test_a_window_that_is_open_and_closed_in_turn_is_added_up() -> None:
    window = "mon-fri 22:00-06:00 Europe/Berlin"  # and 4 March 2030 is a Monday

    assert open_s(window, BEGAN, BEGAN + timedelta(days=7)) == 5 * 8 * HOUR_S
    assert open_s(window, BEGAN, BEGAN) == open_s(None, BEGAN, BEGAN - timedelta(days=1)) == 0
