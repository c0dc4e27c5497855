"""The policy as jobs meet it: what is tried again, when, how often, and what it is charged."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.stack import Stack, ground_truth
from tests.upstreams import deferred, first_retrying, policy, retryings, submitted, written


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_rate_limit_is_waited_for_and_is_no_failure(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?tokens=9&fault=limit-seconds&wait=1.5")
        _, _, job = await reader.end(id)
        attempts = await reader.store.jobs.attempts(id)

    refused, served = stack.record()
    assert 1.5 <= served["started_s"] - refused["ended_s"] < 5
    assert (job.state, job.failures, job.throttles) == ("completed", 0, 1)
    assert [row.error_category for row in attempts] == ["rate_limit", None]


async def test_a_rate_limit_holds_back_every_worker(stack: Stack) -> None:
    stack.worker("-Q", "interactive")
    stack.worker("-Q", "bulk")
    model = "sim-fast?tokens=9&fault=limit-seconds&wait=2&key=all"
    async with stack.reader() as reader:
        refused = await submitted(stack, reader, model)
        await first_retrying(reader, refused)
        other = await submitted(stack, reader, model, lane="bulk")
        ends = await asyncio.gather(reader.end(other), reader.end(refused))

    record = stack.record()
    assert [job.state for _, _, job in ends] == ["completed", "completed"]
    assert ends[0][2].throttles == 0 and len(record) == 3
    assert min(each["started_s"] for each in record[1:]) - record[0]["ended_s"] >= 2


async def test_a_long_wait_frees_the_slot(stack: Stack) -> None:
    stack.worker(DELTAWORKS_STREAMS="1")
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?fault=limit-seconds&wait=100")
        told = await first_retrying(reader, id)
        _, _, other = await reader.end(await submitted(stack, reader, "sim-fast?tokens=9"))
        job = await deferred(reader, id)

    assert other.state == "completed"
    assert told.category == "rate_limit" and told.scheduled_at and job.scheduled_at
    assert abs(told.scheduled_at - job.scheduled_at) < timedelta(milliseconds=1)
    left_s = (job.scheduled_at - datetime.now(UTC)).total_seconds()
    assert 90 < left_s < 106
    assert (job.failures, job.throttles) == (0, 1)


@pytest.mark.parametrize(
    ("fault", "state", "requests"),
    [("should-not-retry", "failed", 1), ("should-retry", "completed", 2)],
)
async def test_an_upstream_that_says_whether_to_retry_is_believed(
    stack: Stack, fault: str, state: str, requests: int
) -> None:
    stack.worker()
    async with stack.reader() as reader:
        id = await submitted(stack, reader, f"sim-fast?tokens=9&fault={fault}")
        _, _, job = await reader.end(id)

    assert job.state == state
    assert len(stack.record()) == requests


async def test_a_stream_that_breaks_off_every_time_is_tried_three_times_more(
    stack: Stack,
) -> None:
    stack.worker()
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?tokens=9&fault=cut-rst&times=all&vary=1")
        text, _, job = await reader.end(id)
        events = await reader.events(id)

    assert (job.state, job.error_category, job.failures) == ("failed", "truncated", 3)
    assert len(stack.record()) == 4
    assert text == job.output_text == ground_truth(stack.record()[3]) != ""
    assert len(retryings(events)) <= 3


async def test_a_policy_of_the_users_own_is_obeyed(stack: Stack) -> None:
    stack.worker(**policy(stack, "[server]\nmost = 1\ncap_s = 0.5\n"))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?fault=status-500&times=all")
        _, _, job = await reader.end(id)

    assert (job.state, job.error_category, job.failures) == ("failed", "server", 1)
    assert len(stack.record()) == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [("[server]\nmsot = 1\n", "msot"), ("[sevrer]\nmost = 1\n", "sevrer"), ("[server", "policy")],
)
def test_a_policy_that_does_not_work_is_refused_at_the_start(
    stack: Stack, text: str, named: str
) -> None:
    worker = stack.start("worker", "-m", "worker.cli", "worker", **policy(stack, text))

    assert worker.popen.wait(20) == 2
    assert named in worker.printed() and "policy.toml" in worker.printed()
    assert "Traceback" not in worker.printed()


def test_a_key_that_is_missing_is_refused_at_the_start(stack: Stack) -> None:
    file = written(
        stack,
        "upstreams.toml",
        f'[[upstream]]\nname = "mine"\nbase_url = "{stack.base_url}"\napi_key_env = "NO_SUCH"\n',
    )
    env = {"DELTAWORKS_UPSTREAMS_FILE": str(file)}
    worker = stack.start("worker", "-m", "worker.cli", "worker", **env)

    assert worker.popen.wait(20) == 2
    assert "NO_SUCH" in worker.printed() and "mine" in worker.printed()
    assert "Traceback" not in worker.printed()


async def test_a_wait_that_would_outlast_the_deadline_ends_the_job_at_once(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        began = time.monotonic()
        model = "sim-fast?fault=limit-seconds&wait=20"
        id = await submitted(stack, reader, model, deadline_at=in_seconds(10))
        _, _, job = await reader.end(id)

    assert (job.state, job.error_category) == ("failed", "rate_limit")
    assert time.monotonic() - began < 8


async def test_a_job_that_waits_for_its_turn_ends_by_its_deadline(stack: Stack) -> None:
    stack.sweeping_worker(DELTAWORKS_SWEEP_S="0.3")
    model = "sim-fast?fault=limit-seconds&wait=20"
    async with stack.reader() as reader:
        await first_retrying(reader, await submitted(stack, reader, model))
        began = time.monotonic()
        id = await submitted(stack, reader, model, deadline_at=in_seconds(2))
        _, _, job = await reader.end(id)

    assert (job.state, job.error_category) == ("failed", "deadline")
    assert 1.5 < time.monotonic() - began < 8
    assert len(stack.record()) == 1
