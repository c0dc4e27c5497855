"""One job through the whole stack: what a reader holds is what is saved, once, whoever dies."""

import signal
from datetime import UTC, datetime

import pytest

from models import JobState
from tests.stack import Reader, Stack, chat, ground_truth, text_of
from tests.wire import until
from worker import catalog, settings
from worker.app import Wake
from worker.channel.events import Cursor, Delta, Retrying, Started
from worker.errors import Conflict
from worker.submission import Submission


async def sent(
    stack: Stack,
    reader: Reader,
    body: dict[str, object],
    wake: Wake | None = None,
    **fields: object,
) -> str:
    """Submit as another service would, and return the job's id."""
    submission = Submission(
        reader.store.jobs,
        reader.log,
        wake or stack.wake,
        stack.dispatch,
        catalog.simulated(stack.base_url),
        settings.Settings(),
    )
    job = await submission.submit({"request": body, **fields})
    return job.id


async def test_a_prompt_streams_and_its_saved_text_is_what_was_streamed(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        id = await sent(stack, reader, chat("sim?tokens=80&rate=400"), metadata={"who": "me"})
        text, end, job = await reader.end(id)

    served = stack.record()
    assert text == job.output_text == ground_truth(served[0])
    assert len(served) == 1 and served[0]["job"] == id and served[0]["attempt"] == 1
    assert job.state == "completed" and job.finish_reason == "stop" and not job.unverified
    assert job.length == len(text) and end.id == f"1-{len(text) + 1}"
    assert job.usage and end.usage == job.usage
    assert job.labels == {"who": "me"}
    times = [job.created_at, job.started_at, job.first_delta_at, job.finished_at]
    assert all(moment and moment.tzinfo is UTC for moment in times)


async def test_a_stream_that_just_stops_is_tried_again_from_the_start(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        id = await sent(stack, reader, chat("sim?tokens=40&rate=400&fault=cut-eof&vary=1"))
        events = await reader.events(id)
        job = await reader.store.jobs.get(id)
        attempts = await reader.store.jobs.attempts(id)

    assert [type(event) for event in events if not isinstance(event, Delta)][:3] == [
        Started,
        Retrying,
        Started,
    ]
    retrying = next(event for event in events if isinstance(event, Retrying))
    assert (retrying.reason, retrying.code) == ("error", "stream_truncated")
    served = stack.record()
    assert text_of(events) == job.output_text == ground_truth(served[1])
    assert job.output_text != ground_truth(served[0])
    assert (job.state, job.attempt, job.failures) == ("completed", 2, 1)
    assert [(row.number, row.error_code) for row in attempts] == [
        (1, "stream_truncated"),
        (2, None),
    ]
    assert attempts[0].length == retrying.cursor.offset - 1


@pytest.mark.parametrize(
    ("fault", "category", "requests"),
    [
        ("fault=status-500&times=all", "server", 6),
        ("fault=status-401", "auth", 1),
        ("fault=context-length", "context_length", 1),
        ("fault=insufficient-quota", "billing", 1),
    ],
)
async def test_the_kind_of_error_decides_whether_it_is_tried_again(
    stack: Stack, fault: str, category: str, requests: int
) -> None:
    stack.worker()
    async with stack.reader() as reader:
        id = await sent(stack, reader, chat(f"sim?{fault}"))
        _, end, job = await reader.end(id)
        attempts = await reader.store.jobs.attempts(id)

    assert (job.state, job.error_category) == ("failed", category)
    assert end.error and end.error.message == job.error_message != ""
    assert len(stack.record()) == len(attempts) == requests
    assert job.failures == len(attempts) - 1


async def test_a_length_limit_ends_as_incomplete(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        id = await sent(stack, reader, chat("sim?tokens=50&rate=0", max_tokens=5))
        text, _, job = await reader.end(id)

    assert (job.state, job.finish_reason) == ("incomplete", "length")
    assert text == job.output_text != ""


async def test_every_part_of_an_answer_is_kept(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        id = await sent(stack, reader, chat("sim-reasoning", n=2))
        events = await reader.events(id)
        job = await reader.store.jobs.get(id)
        again = await reader.events(id, Cursor(1, 0))

    assert job.state == "completed" and job.output and job.parts
    for message in job.output:
        mine = [e for e in events if isinstance(e, Delta) and e.choice == message["index"]]
        assert "".join(e.text or "" for e in mine) == message["content"] != ""
        assert "".join(e.reasoning or "" for e in mine) == message["reasoning"] != ""
    assert [event for event in again if isinstance(event, Delta)]


async def test_two_workers_given_the_same_message_send_one_request(stack: Stack) -> None:
    stack.worker()
    stack.worker()
    async with stack.reader() as reader:
        id = await sent(stack, reader, chat("sim?tokens=60&rate=100"))
        for _ in range(6):
            await stack.wake(id, "interactive")
        text, _, job = await reader.end(id)

    served = stack.record()
    assert len(served) == 1 and job.attempt == 1
    assert text == job.output_text == ground_truth(served[0])


async def test_a_worker_whose_lease_was_taken_over_publishes_and_saves_nothing_more(
    stack: Stack,
) -> None:
    short = {"DELTAWORKS_LEASE_S": "1", "DELTAWORKS_RENEW_S": "0.3"}
    zombie = stack.worker(**short)
    async with stack.reader() as reader:
        body = chat("sim?tokens=300&rate=100&vary=1")
        id = await sent(stack, reader, body)
        following = reader.follower.follow(id)
        seen = [await anext(following) for _ in range(5)]
        zombie.send(signal.SIGSTOP)

        async def rescued() -> object:
            return await reader.store.sweeping.rescue(10)

        await until(rescued)
        stack.worker(**short)
        await stack.wake(id, "interactive")
        seen += [await anext(following) for _ in range(30)]
        zombie.send(signal.SIGCONT)
        seen += [event async for event in following]
        job = await reader.store.jobs.get(id)
        attempts = await reader.store.jobs.attempts(id)
        log = await reader.log.read(id, Cursor(0, 0))
    # The zombie notices, says so, and goes on working.
    zombie.await_print(f"job {id}: lost at attempt 1")

    served = {each["attempt"]: each for each in stack.record()}
    assert job.state == "completed" and job.attempt == 3 and job.crashes == 1
    assert text_of(seen) == job.output_text == ground_truth(served[3])
    ids = [event.cursor for event in seen]
    assert ids == sorted(set(ids)), "an id was repeated or went back"
    assert [row.number for row in attempts] == [3]
    assert log and log[-1].id == seen[-1].id and {event.cursor.attempt for event in log} == {1, 3}


async def test_a_killed_worker_leaves_its_job_to_another(stack: Stack) -> None:
    short = {"DELTAWORKS_LEASE_S": "1", "DELTAWORKS_RENEW_S": "0.3", "DELTAWORKS_SWEEP_S": "0.3"}
    doomed = stack.worker(**short)
    async with stack.reader() as reader:
        id = await sent(stack, reader, chat("sim?tokens=200&rate=100&vary=1"))
        following = reader.follower.follow(id)
        seen = [await anext(following) for _ in range(5)]
        doomed.kill()
        stack.sweeping_worker(**short)
        seen += [event async for event in following]
        job = await reader.store.jobs.get(id)

    assert any(isinstance(event, Retrying) and event.reason == "lost" for event in seen)
    assert (job.state, job.crashes) == ("completed", 1)
    assert text_of(seen) == job.output_text == ground_truth(stack.record()[-1])


async def test_a_cancelled_job_stops_its_stream_at_once(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        id = await sent(stack, reader, chat("sim?tokens=10000&rate=20"))
        following = reader.follower.follow(id)
        for _ in range(5):
            await anext(following)
        cancelled, first = await stack.cancel(reader, id)
        rest = [event async for event in following]
        _, second = await stack.cancel(reader, id)

        await until(lambda: stack.record() and stack.record()[0]["end"] == "client")
        job = await reader.store.jobs.get(id)

    assert first and not second
    assert cancelled.state == job.state == JobState.CANCELLED and job.attempt == 2
    assert rest[-1].id == "2-1" and not job.output_text


async def test_a_broker_that_is_away_does_not_lose_a_job(stack: Stack) -> None:
    async def away(_id: str, _lane: str) -> bool:
        return False

    async with stack.reader() as reader:
        id = await sent(stack, reader, chat("sim?tokens=5&rate=0"), wake=away)
        stack.sweeping_worker(DELTAWORKS_SWEEP_S="0.3")
        _, _, job = await reader.end(id)

    assert job.state == "completed"


async def test_a_key_is_used_once_whoever_repeats_it(stack: Stack) -> None:
    async with stack.reader() as reader:
        id = await sent(stack, reader, chat("sim"), idempotency_key="order-1")
        assert await sent(stack, reader, chat("sim"), idempotency_key="order-1") == id
        with pytest.raises(Conflict, match="order-1"):
            await sent(stack, reader, chat("sim", "another"), idempotency_key="order-1")


async def test_a_deadline_ends_the_job_and_keeps_its_text(stack: Stack) -> None:
    stack.worker()
    async with stack.reader() as reader:
        due = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 1.5, UTC).isoformat()
        id = await sent(stack, reader, chat("sim?tokens=10000&rate=50"), deadline_at=due)
        text, _, job = await reader.end(id)

    assert (job.state, job.error_category) == ("failed", "deadline")
    assert text == job.output_text != ""
