"""A blocked event loop is told, with where it is, and its process claims nothing meanwhile."""

from celery import Celery

from tests.stack import Stack
from tests.upstreams import submitted

SHORT_LEASE = {
    "DELTAWORKS_LEASE_S": "3",
    "DELTAWORKS_RENEW_S": "1",
    "DELTAWORKS_SWEEP_S": "0.3",
}

MISBEHAVING = ("--include", "tests.system.misbehaving")


def block(stack: Stack, seconds: float) -> None:
    sender = Celery(broker=stack.env["DELTAWORKS_REDIS_URL"], set_as_current=False)
    sender.send_task("tests.block", args=(seconds,), queue="interactive")
    sender.close()


async def test_a_blocked_loop_is_told_and_claims_stop_until_it_is_back(stack: Stack) -> None:
    stack.sweeping_worker("--lane", "bulk", **SHORT_LEASE)
    worker = stack.worker("-Q", "interactive", *MISBEHAVING, **SHORT_LEASE)
    block(stack, 3)
    worker.await_print("the event loop is blocked for more than 1 s, at ")
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?tokens=9")
        _, _, job = await reader.end(id)

    printed = worker.printed()
    assert (job.state, job.attempt, job.crashes) == ("completed", 1, 0)
    assert f"job {id}: left to others: this process is too late" in printed
    (line,) = [line for line in printed.splitlines() if "is blocked for more" in line]
    assert "WARNING" in line and "misbehaving.py" in line and "sleep_on_the_loop" in line
    assert "the event loop was blocked for " in printed


async def test_a_loop_that_is_only_a_little_late_goes_on_claiming(stack: Stack) -> None:
    worker = stack.worker(*MISBEHAVING)
    block(stack, 2)
    worker.await_print("the event loop is blocked for more than 1 s, at ")
    async with stack.reader() as reader:
        _, _, job = await reader.end(await submitted(stack, reader, "sim-fast?tokens=9"))

    assert job.state == "completed" and "left to others" not in worker.printed()
