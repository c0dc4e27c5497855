"""With prices in the upstreams file a job says what all its requests have cost."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.stack import ROOT, Stack, ground_truth
from tests.upstreams import submitted, written
from worker.job_object import job_object
from worker.limiter import estimated_prompt

INPUT, OUTPUT = 2.5, 10.0
CUT = "sim?tokens=40&rate=400&fault=cut-eof&vary=1"


def priced(stack: Stack) -> dict[str, str]:
    """The setting that has a worker know the simulator and its prices."""
    text = f"""
[[upstream]]
name = "sim"
base_url = "{stack.base_url}"
api_key_env = "OPENAI_API_KEY"
[upstream.prices."sim*"]
input = {INPUT}
output = {OUTPUT}
"""
    return {"DELTAWORKS_UPSTREAMS_FILE": str(written(stack, "upstreams.toml", text))}


def shown(stack: Stack, id: str, *options: str) -> str:
    """What `deltaworks show` prints."""
    command = [sys.executable, "-m", "worker.cli", "show", id, *options]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **stack.env}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def whole(served: dict[str, Any], usage: dict[str, Any] | None) -> float:
    """What an answer cost that was served whole: one delta is a token of the simulator's."""
    assert usage is not None
    assert usage["completion_tokens"] == served["deltas"]
    return float(usage["prompt_tokens"] * INPUT + served["deltas"] * OUTPUT) / 1e6


def cut(served: dict[str, Any], body: dict[str, object]) -> float:
    """What an answer cost that broke off: its prompt, and four characters a token."""
    tokens = -(-len(ground_truth(served)) // 4)
    return (estimated_prompt(body) * INPUT + tokens * OUTPUT) / 1e6


async def test_a_job_that_was_cut_off_and_retried_costs_what_was_served(stack: Stack) -> None:
    stack.worker(**priced(stack))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, CUT)
        _, _, job = await reader.end(id)
        attempts = await reader.store.jobs.attempts(id)

    first, second = stack.record()
    assert (job.state, len(attempts)) == ("completed", 2)
    assert attempts[0].usage is None and 0 < len(ground_truth(first)) == attempts[0].length
    expected = cut(first, job.request) + whole(second, job.usage)
    assert job_object(job)["cost"] == pytest.approx(expected)
    assert json.loads(shown(stack, id, "--json"))["cost"] == pytest.approx(expected)
    lines: Sequence[str] = shown(stack, id).splitlines()
    assert f"cost            {expected:.8f}".rstrip("0") in lines


async def test_a_refused_request_costs_nothing_and_the_next_its_usage(stack: Stack) -> None:
    stack.worker(**priced(stack))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?tokens=9&fault=status-503")
        _, _, job = await reader.end(id)
        failed = await submitted(stack, reader, "sim-fast?fault=context-length")
        _, _, refused = await reader.end(failed)

    _, served, _ = stack.record()
    assert job.cost == pytest.approx(whole(served, job.usage))
    assert (refused.state, refused.cost) == ("failed", 0.0)


async def test_a_server_that_tells_no_usage_is_estimated(stack: Stack) -> None:
    stack.worker(**priced(stack))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim-fast?tokens=9&fault=usage-missing")
        _, _, job = await reader.end(id)

    (served,) = stack.record()
    assert (job.state, job.usage) == ("completed", None)
    assert job.cost == pytest.approx(cut(served, job.request))


async def test_a_worker_that_ends_counts_what_it_broke_off(stack: Stack) -> None:
    first = stack.worker(DELTAWORKS_GRACE_S="0.1", **priced(stack))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim?tokens=100&rate=50&vary=1")
        following = reader.follower.follow(id)
        for _ in range(5):
            await anext(following)
        first.stop()
        row = await reader.store.jobs.get(id)
        (drained,) = await reader.store.jobs.attempts(id)
        stack.worker(**priced(stack))
        await stack.wake(id, "interactive")
        _, _, job = await reader.end(id)

    assert drained.error_code == "drained" and row.state == "queued"
    received = -(-drained.length // 4)
    expected = (estimated_prompt(job.request) * INPUT + received * OUTPUT) / 1e6
    assert row.cost == pytest.approx(expected)
    assert job.cost == pytest.approx(expected + whole(stack.record()[-1], job.usage))


async def test_a_job_that_dies_with_its_worker_costs_what_was_published_too(stack: Stack) -> None:
    short = {"DELTAWORKS_LEASE_S": "1", "DELTAWORKS_RENEW_S": "0.3", "DELTAWORKS_SWEEP_S": "0.3"}
    doomed = stack.worker(**short, **priced(stack))
    async with stack.reader() as reader:
        id = await submitted(stack, reader, "sim?tokens=200&rate=100&vary=1")
        following = reader.follower.follow(id)
        for _ in range(5):
            await anext(following)
        doomed.kill()
        stack.sweeping_worker(**short, **priced(stack))
        _, _, job = await reader.end(id)
        lost, _ = await reader.store.jobs.attempts(id)

    published = -(-lost.length // 4)
    expected = (estimated_prompt(job.request) * INPUT + published * OUTPUT) / 1e6
    assert (job.state, lost.error_code) == ("completed", "lost") and lost.length > 0
    assert job.cost == pytest.approx(expected + whole(stack.record()[-1], job.usage))


async def test_without_prices_nothing_is_known_of_the_cost(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        _, _, job = await reader.end(await submitted(stack, reader, "sim-fast"))
    assert job.state == "completed" and job_object(job)["cost"] is None
