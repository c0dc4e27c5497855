"""How far a batch is, as the command line says it."""

from datetime import UTC, datetime, timedelta

import pytest

from models import Batch, BatchStatus
from worker.cli.batch.progress import FAULTS, Pace, fault_lines, phase_of, progress_of, spent
from worker.cli.batch.views import closing
from worker.store import Recent, Tally

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


def batch(status: BatchStatus = BatchStatus.IN_PROGRESS, **given: object) -> Batch:
    return Batch(id="batch_1", status=status.value, **{"total": 10, **given})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (BatchStatus.VALIDATING, "validating"),
        (BatchStatus.IN_PROGRESS, "running"),
        (BatchStatus.FINALIZING, "finalizing"),
        (BatchStatus.CANCELLING, "cancelling"),
        (BatchStatus.EXPIRED, "expired"),
    ],
)
def test_the_phase_is_the_status_in_words(status: BatchStatus, expected: str) -> None:
    assert phase_of(batch(status), NOON) == expected


def test_a_pause_says_until_when_and_why_in_clean_words() -> None:
    until = NOON + timedelta(hours=1)
    paused = batch(
        paused_at=NOON,
        paused_until=until,
        pause_reason="suspended",
        pause_message="no\x1b[2J\nmoney",
    )
    assert phase_of(paused, NOON) == (
        f"paused until {until.astimezone():%Y-%m-%d %H:%M:%S} (suspended): no\ufffd[2J money"
    )


def test_a_closed_window_says_when_it_opens() -> None:
    opens = NOON + timedelta(hours=10)
    waiting = batch(run_window="22:00-06:00")
    assert phase_of(waiting, NOON) == (
        f"outside its run window, which opens {opens.astimezone():%Y-%m-%d %H:%M:%S}"
    )
    assert phase_of(waiting, opens) == "running"


def test_what_the_tally_lacks_is_added_and_the_cost_stands_beside_its_cap() -> None:
    tally = Tally(
        completed=4, failed=3, categories={"timeout": 1, "server": 2}, input_tokens=1_000,
        output_tokens=234, cost=1.5, priced=7,
    )  # fmt: skip
    found = progress_of(
        batch(tally=tally.document(), max_cost=20.0), Recent(completed=1, cost=0.5), NOON
    )
    assert (found.done, found.completed, found.failed) == (8, 5, 3)
    assert spent(found) == [
        "1,234 tokens",
        "cost 2.00 of 20.00",
        "3 failed (server 2, timeout 1)",
    ]


def test_what_has_no_price_has_no_cost() -> None:
    assert spent(progress_of(batch(), None, NOON)) == []


def test_the_pace_is_that_of_the_last_half_minute() -> None:
    pace = Pace()
    pace.note(-20.0, 0)
    pace.note(0.0, 0)
    assert (pace.rate, pace.left_s(10)) == (0.0, None)
    pace.note(10.0, 100)
    assert (pace.rate, pace.left_s(50)) == (10.0, 5.0)
    pace.note(40.0, 100)
    pace.note(41.0, 100)
    assert pace.rate == 0.0


def test_rows_that_are_run_again_make_no_negative_pace() -> None:
    pace = Pace()
    pace.note(0.0, 100)
    pace.note(1.0, 90)
    assert pace.rate == 0.0


def test_of_many_faults_the_first_are_told_and_how_many_more_there_are() -> None:
    faults = [{"code": "x", "message": "is wrong\x07", "line": n} for n in range(1, 31)]
    faults[1]["line"] = None
    told = list(fault_lines(batch(BatchStatus.FAILED, errors=faults)))
    assert told[:2] == ["line 1: x: is wrong\ufffd", "x: is wrong\ufffd"]
    assert len(told) == FAULTS + 1
    assert told[-1] == "and 10 more: deltaworks batch status batch_1 --json"


def test_the_last_line_tells_rows_time_and_id() -> None:
    ended = batch(
        BatchStatus.COMPLETED,
        created_at=NOON,
        completed_at=NOON + timedelta(seconds=90),
        tally=Tally(completed=10).document(),
    )
    assert closing(ended, progress_of(ended, None, NOON)) == [
        "completed · 10 of 10 rows completed · 1 min 30 s · batch_1"
    ]
