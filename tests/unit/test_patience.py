"""Patience: each phase of a stream has its time, and the error says which one ran out."""

import asyncio

import msgspec
import pytest

from worker.errors import Category
from worker.upstream.patience import Limits, Patience

LONG = 60.0
LIMITS = Limits(
    first_byte_s=LONG, first_token_s=LONG, token_gap_s=LONG,
    attempt_s=LONG, end_grace_s=LONG, left_s=LONG,
)  # fmt: skip
SHORT = 0.02


def limits(**changed: float) -> Limits:
    return msgspec.structs.replace(LIMITS, **changed)


async def ran_out(limits: Limits, *steps: str) -> Patience:
    """Take the steps and then hear nothing more."""
    patience = Patience(limits)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10), patience:
            for step in steps:
                getattr(patience, step)()
            await asyncio.Event().wait()
    return patience


@pytest.mark.parametrize(
    ("changed", "steps", "code"),
    [
        ("first_byte_s", (), "first_byte_timeout"),
        ("first_token_s", ("headers",), "first_token_timeout"),
        ("token_gap_s", ("headers", "token"), "token_gap_timeout"),
        ("token_gap_s", ("headers", "token", "token", "token"), "token_gap_timeout"),
        ("token_gap_s", ("headers", "token", "proof", "doubt"), "token_gap_timeout"),
        ("token_gap_s", ("headers", "token", "proof", "doubt", "token"), "token_gap_timeout"),
        ("attempt_s", (), "attempt_timeout"),
        ("attempt_s", ("headers", "token"), "attempt_timeout"),
    ],
)
async def test_the_phase_that_took_too_long_is_named(
    changed: str, steps: tuple[str, ...], code: str
) -> None:
    patience = await ran_out(limits(**{changed: SHORT}), *steps)
    error = patience.error()
    assert (error.category, error.code, error.status) == (Category.TIMEOUT, code, None)
    assert "took more than 0.02 s" in error.message
    assert not patience.proven


@pytest.mark.parametrize("left_s", [SHORT, 0.0, -5.0])
async def test_the_deadline_is_nobodys_timeout(left_s: float) -> None:
    patience = await ran_out(limits(left_s=left_s), "headers", "token")
    assert (patience.error().category, patience.error().code) == (Category.DEADLINE, "deadline")


async def test_after_the_proof_only_the_grace_counts() -> None:
    patience = await ran_out(
        limits(end_grace_s=SHORT, token_gap_s=LONG), "headers", "token", "proof", "token", "proof"
    )
    assert patience.proven


async def test_every_proof_begins_the_grace_anew() -> None:
    patience = Patience(limits(end_grace_s=0.3))
    async with patience:
        for _ in range(5):
            patience.proof()
            await asyncio.sleep(0.1)


async def test_the_grace_begins_again_after_a_doubt() -> None:
    steps = ("headers", "token", "proof", "doubt", "token", "proof")
    assert (await ran_out(limits(end_grace_s=SHORT), *steps)).proven


async def test_no_grace_ends_the_wait_at_once() -> None:
    assert (await ran_out(limits(end_grace_s=0), "headers", "proof")).proven


async def test_a_phase_that_has_passed_counts_no_more() -> None:
    patience = Patience(limits(first_byte_s=SHORT, first_token_s=SHORT, token_gap_s=LONG))
    async with patience:
        patience.headers()
        patience.token()
        await asyncio.sleep(3 * SHORT)


async def test_every_token_begins_the_gap_anew() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    patience = Patience(limits(token_gap_s=0.2))
    with pytest.raises(TimeoutError):
        async with patience:
            patience.headers()
            while loop.time() - began < 0.5:
                patience.token()
                await asyncio.sleep(0.01)
            last = loop.time()
            await asyncio.Event().wait()
    assert loop.time() - last >= 0.15
    assert patience.error().code == "token_gap_timeout"


async def test_leaving_in_time_leaves_no_timer() -> None:
    async with Patience(limits(first_byte_s=SHORT)):
        pass
    await asyncio.sleep(3 * SHORT)


async def test_an_error_inside_and_a_cancellation_from_outside_pass_through() -> None:
    with pytest.raises(KeyError):
        async with Patience(LIMITS):
            raise KeyError

    async def wait() -> None:
        async with Patience(LIMITS):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
