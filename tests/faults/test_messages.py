"""Messages that come again, too early, or make no sense: one request a job, and no worker dies."""

import asyncio
import pickle
import uuid
from typing import Any

from kombu import Connection, Exchange, Producer

from tests.faults.evidence import ending
from tests.faults.scene import Scene

ONCE = ending("completed", requests=1)
LONG = "sim?tokens=150&rate=50&vary=1"
# What kombu's Redis transport does every now and then: here at each look.
EVERY_TIME = 1


async def test_messages_that_are_delivered_again_and_again_are_one_request(
    on_sqlite: Scene,
) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(2)
    # Another application at the same broker, whose visibility timeout is a second: it restores
    # what our workers have fetched and not acknowledged yet.
    impatient = {"visibility_timeout": 1}
    async with scene.load() as load:
        ids = await load.submit(12, LONG, ONCE)
        with Connection(scene.broker.url, transport_options=impatient) as stranger:
            channel: Any = stranger.default_channel  # of kombu's Redis transport
            for _ in range(5):
                with scene.injury():
                    scene.random.shuffle(ids)
                    for id in ids:
                        await load.wake(id, "interactive")
                    channel.qos.restore_visible(num=100, interval=EVERY_TIME)
                    await asyncio.sleep(0.5)

    assert scene.figures.redelivered >= 5 * 12


async def test_messages_that_make_no_sense_harm_nobody(on_postgres: Scene) -> None:
    scene = on_postgres
    scene.lease(20)
    await scene.employ(1)
    async with scene.load() as load:
        (ended,) = await load.submit(1, "sim-fast?tokens=5", ONCE)
        await load.open_at_most(0)
        with scene.injury(), Connection(scene.broker.url) as connection:
            garbage: tuple[list[object], ...] = (
                [ended], ["job_that_is_not_there_000"], [], [None], [7], [ended, "more"],
                [{"id": ended}], ["x" * 100_000], ["\x00\ud800"],
            )  # fmt: skip
            for args in garbage:
                send(connection, "deltaworks.run_job", args)
            send(connection, "deltaworks.run_job", [ended], {"from_a_newer_version": True})
            send(connection, "deltaworks.invented_tomorrow", [ended])
            send(connection, "deltaworks.sweep", ["unexpected"], queue="deltaworks.sweep")
            Producer(connection, Exchange("interactive"), "interactive").publish(
                pickle.dumps({"os": "command"}),
                content_type="application/x-python-serialize",
                content_encoding="binary",
                headers={"task": "deltaworks.run_job", "id": str(uuid.uuid4()), "lang": "py"},
            )
        await load.submit(10, expected=ONCE)

    assert all(worker.popen.poll() is None for worker in scene.workers)


async def test_a_wake_up_under_a_name_that_a_worker_does_not_know_is_sent_again(
    on_sqlite: Scene,
) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    (worker,) = scene.workers
    async with scene.load() as load:
        load.wakes = False
        (id,) = await load.submit(1, "sim-fast?tokens=5", ONCE)
        with scene.injury(), Connection(scene.broker.url) as connection:
            send(connection, "deltaworks.run_job_as_of_tomorrow", [id])
            await asyncio.to_thread(worker.await_print, "a message was dropped")
        scene.let_time_pass(60)

    assert scene.figures.resent == 1


async def test_a_request_that_is_submitted_fifty_times_at_once_is_one_job(
    on_postgres: Scene,
) -> None:
    scene = on_postgres
    scene.lease(20)
    await scene.employ(1)
    async with scene.load() as load, scene.stack.reader() as other:
        again = load.submission_over(other)
        document = {"request": load.body("sim-fast?tokens=5"), "idempotency_key": "invoice-17"}
        jobs = await asyncio.gather(
            *(service.submit(document) for service in (load.submission, again) for _ in range(25))
        )
        (id,) = {job.id for job in jobs}
        load.accepted(id, ONCE)
        await load.open_at_most(0)
        assert (await again.submit(document)).id == id


def send(
    connection: Connection,
    task: str,
    args: list[object],
    kwargs: dict[str, object] | None = None,
    queue: str = "interactive",
) -> None:
    """A message as Celery's second protocol has it, whatever it says."""
    Producer(connection, Exchange(queue), queue).publish(
        [args, kwargs or {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}],
        serializer="json",
        headers={"task": task, "id": str(uuid.uuid4()), "lang": "py", "root_id": None},
    )
