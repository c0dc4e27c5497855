"""Another upstream takes what one cannot do; one that refuses the key is left alone."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.servers import free_port
from tests.stack import Stack, ground_truth, text_of
from tests.upstreams import (
    deferred,
    first_retrying,
    policy,
    retryings,
    submitted,
    two_names,
    upstreams,
)
from tests.wire import until
from worker.channel.events import Started

QUOTA = "You exceeded your current quota, please check your plan and billing details."
BROKE = "sim-fast?tokens=5&vary=1&fault=insufficient-quota"


@pytest.mark.parametrize("status", [500, 503, 504])
async def test_a_failing_upstream_is_left_for_the_next_at_once(stack: Stack, status: int) -> None:
    stack.worker(**two_names(stack))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, f"sim-fast?tokens=9&vary=1&fault=status-{status}")
        events = await reader.events(id)
        job = await reader.store.jobs.get(id)
        attempts = await reader.store.jobs.attempts(id)

    (retrying,) = retryings(events)
    assert (retrying.reason, retrying.wait_s) == ("error", 0)
    started = [event.upstream for event in events if isinstance(event, Started)]
    assert started == ["first", "second"] == [row.upstream for row in attempts]
    assert [row.error_status for row in attempts] == [status, None]
    assert (job.state, job.upstream, job.failures) == ("completed", "second", 1)
    assert text_of(events) == job.output_text == ground_truth(stack.record()[1])


@pytest.mark.parametrize("fault", ["fastapi-detail", "content-filter", "context-length"])
async def test_a_request_that_is_at_fault_itself_is_shown_to_one_upstream_only(
    stack: Stack, fault: str
) -> None:
    stack.worker(**two_names(stack))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, f"sim-fast?fault={fault}")
        _, _, job = await reader.end(id)
        attempts = await reader.store.jobs.attempts(id)

    assert (job.state, job.upstream) == ("failed", "first")
    assert len(stack.record()) == len(attempts) == 1


async def test_a_host_that_is_away_is_left_for_the_next_at_once(stack: Stack) -> None:
    away = f"http://127.0.0.1:{free_port()}/v1"
    stack.worker(**upstreams(stack, away=away, here=stack.base_url))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?tokens=9")
        events = await reader.events(id)
        job = await reader.store.jobs.get(id)
        attempts = await reader.store.jobs.attempts(id)

    (retrying,) = retryings(events)
    assert (retrying.category, retrying.wait_s) == ("connection", 0)
    assert (job.state, job.upstream, job.failures) == ("completed", "here", 1)
    assert [row.upstream for row in attempts] == ["away", "here"]


async def test_a_host_that_is_away_is_tried_at_once_and_then_with_pauses(stack: Stack) -> None:
    away = f"http://127.0.0.1:{free_port()}/v1"
    swift = policy(stack, "[connection]\nbase_s = 0.1\ncap_s = 0.4\n")
    stack.worker(**upstreams(stack, away=away), **swift)
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast")
        events = await reader.events(id)
        job = await reader.store.jobs.get(id)

    waits = [event.wait_s for event in retryings(events)]
    assert len(waits) == job.failures == 5 and waits[0] == 0
    assert all(wait is not None and wait > 0 for wait in waits[1:])
    assert (job.state, job.error_category) == ("failed", "connection")


async def test_a_spent_account_fails_who_watches_and_is_not_asked_by_the_next(
    stack: Stack,
) -> None:
    stack.worker()
    async with stack.reader() as reader:
        began = time.monotonic()
        _, end, job = await reader.end(await submitted(stack, reader, BROKE))
        took_s = time.monotonic() - began
        # Any model: it is the key that is refused.
        _, _, second = await reader.end(await submitted(stack, reader, "sim-fast"))
        attempts = await reader.store.jobs.attempts(second.id)

    assert (job.state, job.error_category, job.failures) == ("failed", "billing", 0)
    assert (job.error_code, job.error_status, job.error_message) == (
        "insufficient_quota",
        429,
        QUOTA,
    )
    assert end.error and end.error.message == QUOTA and took_s < 5
    assert (second.state, second.error_category) == ("failed", "suspended")
    assert second.error_message and QUOTA in second.error_message
    assert not attempts and len(stack.record()) == 1


async def test_another_upstream_takes_the_jobs_of_a_spent_account(stack: Stack) -> None:
    one = stack.worker(**two_names(stack))
    async with stack.reader() as reader:
        text, _, job = await reader.end(await submitted(stack, reader, BROKE))
        attempts = await reader.store.jobs.attempts(job.id)
        one.kill()
        stack.worker(**two_names(stack))  # it learns of the suspension from the database
        _, _, second = await reader.end(await submitted(stack, reader, "sim-fast?tokens=5"))

    assert (job.state, job.upstream, job.failures) == ("completed", "second", 0)
    assert [(row.upstream, row.error_category) for row in attempts] == [
        ("first", "billing"),
        ("second", None),
    ]
    assert text == ground_truth(stack.record()[1])
    assert (second.state, second.upstream, second.attempt) == ("completed", "second", 1)
    assert len(stack.record()) == 3


async def test_on_a_suspension_bulk_waits_and_is_charged_nothing(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        first = await submitted(stack, reader, BROKE, lane="bulk")
        told = await first_retrying(reader, first)
        asked = await deferred(reader, first)
        spared = await deferred(reader, await submitted(stack, reader, "sim-fast", lane="bulk"))

    assert (told.category, told.code) == ("billing", "insufficient_quota")
    for job in (asked, spared):
        assert (job.failures, job.throttles, job.output_text) == (0, 0, None)
        assert job.scheduled_at
        assert 800 < (job.scheduled_at - datetime.now(UTC)).total_seconds() < 905
    assert told.scheduled_at and asked.scheduled_at
    assert abs(told.scheduled_at - asked.scheduled_at) < timedelta(milliseconds=1)
    assert len(stack.record()) == 1


async def test_a_suspension_that_is_over_lets_the_waiting_jobs_go(stack: Stack) -> None:
    brief = policy(stack, "[billing]\nsuspend_s = 2\n")
    stack.sweeping_worker(DELTAWORKS_SWEEP_S="0.3", **brief)
    async with stack.reader() as reader:
        _, _, job = await reader.end(await submitted(stack, reader, BROKE, lane="bulk"))

    asked, served = stack.record()
    assert (job.state, job.failures, job.throttles) == ("completed", 0, 0)
    assert served["started_s"] - asked["ended_s"] >= 1.9
    assert job.output_text == ground_truth(served)


async def test_a_lifted_suspension_holds_nobody_back(stack: Stack) -> None:
    stack.worker(**upstreams(stack, only=stack.base_url))
    async with stack.reader() as reader:
        _, _, refused = await reader.end(await submitted(stack, reader, BROKE))
        assert await reader.store.suspensions.lift("only") == 1

        async def completes() -> bool:
            _, _, job = await reader.end(await submitted(stack, reader, "sim-fast?tokens=5"))
            return job.state == "completed"

        await until(completes)

    assert refused.state == "failed"
    assert len(stack.record()) == 2


async def test_where_the_second_upstream_is_suspended_the_first_is_tried_again(
    stack: Stack,
) -> None:
    refusing = f"{stack.base_url}/elsewhere"
    strict = (
        '[not_found]\naction = "suspend"\nsuspend_s = 900\ncool_down = "key"\nfallback = true\n'
    )
    busy = upstreams(stack, busy=stack.base_url, refusing=refusing)
    stack.worker(**busy, **policy(stack, strict))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?tokens=5&fault=status-503")
        _, _, job = await reader.end(id)
        attempts = await reader.store.jobs.attempts(id)

    assert [(row.upstream, row.error_category) for row in attempts] == [
        ("busy", "overloaded"),
        ("refusing", "not_found"),
        ("busy", None),
    ]
    assert (job.state, job.failures) == ("completed", 1)
