"""Ending a worker: what can be finished is, the rest is queued again at once, and it exits 0."""

import asyncio
import signal
import time

import pytest
from celery import Celery

from tests.processes import eventually
from tests.stack import Process, Reader, Stack, ground_truth, text_of
from tests.upstreams import submitted
from tests.wire import until
from worker.channel.events import ChannelEvent, Delta, Retrying
from worker.ending import LAST_S

SHORT = "sim?tokens=100&rate=50"  # two seconds
LONG = "sim?tokens=300&rate=30"  # ten seconds


async def streaming(reader: Reader, id: str) -> list[ChannelEvent]:
    """The job's events up to its first delta."""
    seen: list[ChannelEvent] = []
    async for event in reader.follower.follow(id):
        seen.append(event)
        if isinstance(event, Delta):
            break
    return seen


async def exited(worker: Process) -> tuple[int, float]:
    """The worker's exit code, and how many seconds it took from now."""
    began = time.monotonic()
    code = await asyncio.to_thread(worker.popen.wait, 60)
    return code, time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_ends_within_the_grace_ends_and_the_rest_is_run_elsewhere(
    stack: Stack, number: signal.Signals
) -> None:
    old = stack.worker(DELTAWORKS_GRACE_S="3", DELTAWORKS_SWEEP_S="0.5")
    async with stack.reader() as reader:
        short = [await submitted(stack, reader, SHORT) for _ in range(5)]
        long = [await submitted(stack, reader, LONG) for _ in range(5)]
        await asyncio.gather(*(streaming(reader, id) for id in short + long))
        stack.sweeping_worker(DELTAWORKS_SWEEP_S="0.5")
        old.send(number)
        events, (code, took_s) = await asyncio.gather(
            asyncio.gather(*(reader.events(id) for id in short + long)), exited(old)
        )
        jobs = [await reader.store.jobs.get(id) for id in short + long]
        attempts = await reader.store.jobs.attempts(long[0])

    assert code == 0 and 3 <= took_s < 3 + LAST_S
    assert {job.state for job in jobs} == {"completed"}
    assert {job.attempt for job in jobs[:5]} == {1}
    assert {job.attempt for job in jobs[5:]} == {2}
    assert all(job.failures == job.throttles == job.crashes == 0 for job in jobs)
    assert [text_of(seen) for seen in events] == [job.output_text for job in jobs]
    for seen in events[5:]:
        (retrying,) = (event for event in seen if isinstance(event, Retrying))
        assert retrying.reason == "drained"
    assert [row.error_code for row in attempts] == ["drained", None]
    assert attempts[0].length > 0


async def test_a_drained_job_is_taken_over_at_once(stack: Stack) -> None:
    """No sweep is needed for it, and no lease has to expire."""
    old = stack.worker(DELTAWORKS_GRACE_S="0")
    async with stack.reader() as reader:
        id = await submitted(stack, reader, LONG)
        await streaming(reader, id)
        stack.worker()
        began = time.monotonic()
        old.send(signal.SIGTERM)

        async def is_taken_over() -> bool:
            return (await reader.store.jobs.get(id)).attempt == 2

        await until(is_taken_over)
        took_s = time.monotonic() - began
        code, _ = await exited(old)

    assert took_s < 3 and code == 0


async def test_a_second_signal_ends_the_grace(stack: Stack) -> None:
    worker = stack.worker(DELTAWORKS_GRACE_S="60")
    async with stack.reader() as reader:
        id = await submitted(stack, reader, LONG)
        await streaming(reader, id)
        worker.send(signal.SIGTERM)
        worker.await_print("ending: 1 jobs run and have 60 s")
        worker.send(signal.SIGTERM)
        code, took_s = await exited(worker)
        job = await reader.store.jobs.get(id)

    assert code == 0 and took_s < LAST_S
    assert (job.state, job.attempt, job.scheduled_at) == ("queued", 1, None)


async def test_sigquit_gives_everything_back_at_once(stack: Stack) -> None:
    worker = stack.worker(DELTAWORKS_GRACE_S="60")
    async with stack.reader() as reader:
        id = await submitted(stack, reader, LONG)
        await streaming(reader, id)
        worker.send(signal.SIGQUIT)
        code, took_s = await exited(worker)
        job = await reader.store.jobs.get(id)

    assert code == 0 and took_s < LAST_S
    assert (job.state, job.crashes) == ("queued", 0)


async def test_jobs_that_only_wait_are_given_back_without_the_grace(stack: Stack) -> None:
    worker = stack.worker(DELTAWORKS_GRACE_S="60")
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?fault=limit-seconds&wait=20&times=all")
        async for event in reader.follower.follow(id):
            if isinstance(event, Retrying):
                break
        worker.send(signal.SIGTERM)
        code, took_s = await exited(worker)
        job = await reader.store.jobs.get(id)
        attempts = await reader.store.jobs.attempts(id)
        newest = await reader.log.newest(id)

    assert code == 0 and took_s < LAST_S
    assert (job.state, job.throttles, job.failures) == ("queued", 1, 0)
    assert [row.error_category for row in attempts] == ["rate_limit"]
    assert str(newest) == f"{job.attempt}-1"


async def test_nothing_is_lost_where_workers_replace_one_another(stack: Stack) -> None:
    """Messages keep coming while each worker in turn is told to end."""
    quick = {"DELTAWORKS_GRACE_S": "1", "DELTAWORKS_SWEEP_S": "0.5"}
    ids: list[str] = []
    async with stack.reader() as reader:

        async def keep_submitting() -> None:
            for _ in range(150):
                ids.append(await submitted(stack, reader, "sim?tokens=40&rate=40"))

        submitting = asyncio.create_task(keep_submitting())
        for _ in range(3):
            worker = await asyncio.to_thread(stack.sweeping_worker, **quick)
            await until(lambda: len(stack.record()) > 0)
            worker.send(signal.SIGTERM)
            assert (await exited(worker))[0] == 0
        await asyncio.to_thread(stack.sweeping_worker, **quick)
        await submitting
        ended_at = time.monotonic()
        ends = await asyncio.gather(*(reader.end(id) for id in ids))
        took_s = time.monotonic() - ended_at

    assert {job.state for _, _, job in ends} == {"completed"}
    assert all(text == job.output_text for text, _, job in ends)
    assert {job.failures + job.throttles + job.crashes for _, _, job in ends} == {0}
    truths = {(row["job"], row["attempt"]): ground_truth(row) for row in stack.record()}
    assert all(truths[job.id, job.attempt] == job.output_text for _, _, job in ends)
    assert took_s < 25


async def test_a_worker_that_hangs_is_ended_by_its_watchdog(stack: Stack) -> None:
    worker = stack.worker("--include", "tests.system.misbehaving", DELTAWORKS_GRACE_S="1")
    sender = Celery(broker=stack.env["DELTAWORKS_REDIS_URL"], set_as_current=False)
    sender.send_task("tests.hang", queue="interactive")
    sender.close()
    async with stack.reader() as reader:
        id = await submitted(stack, reader, LONG)
        await streaming(reader, id)
        worker.send(signal.SIGTERM)
        code, took_s = await exited(worker)
        job = await reader.store.jobs.get(id)

    assert code == 0 and 1 + LAST_S <= took_s < 1 + LAST_S + 1
    assert (job.state, job.crashes) == ("queued", 0)
    assert "ending hangs" in worker.printed()


def test_an_idle_worker_ends_at_once(stack: Stack) -> None:
    worker = stack.sweeping_worker()
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 5
    eventually(lambda: worker.popen.poll() == 0)
