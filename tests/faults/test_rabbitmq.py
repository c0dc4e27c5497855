"""RabbitMQ as the broker, really run: acknowledgements, redelivery, and all that may die.

They need a rabbitmq-server on the PATH and are skipped without one; `ops/scale.md` says what they
show.
"""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from celery import Celery

from tests.faults.evidence import ending
from tests.faults.scene import BEATLESS, Scene
from tests.processes import eventually
from tests.rabbit import MISSING, PATIENCE_S, PROGRAM, RabbitServer
from tests.stack import chat
from tests.wire import until
from worker.app import QUEUES, SWEEP

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)

LONG = "sim?tokens=150&rate=50&vary=1"
ONCE = ending("completed", requests=1)
# A worker asks for its broker after 2, 4, 6, ... seconds; and the broker takes its time.
BACK_S = 120.0


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitServer]:
    """One node for all tests; each leaves it running."""
    folder = Path(tempfile.mkdtemp(prefix="dw-rabbit-"))
    with RabbitServer(folder) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["classic", "quorum"])
def rabbit(node: RabbitServer, on_postgres: Scene, request: pytest.FixtureRequest) -> RabbitServer:
    """The scene's broker, with queues of each type in turn."""
    node.forget()
    on_postgres.stack.env |= {
        "DELTAWORKS_BROKER_URL": node.url,
        "DELTAWORKS_QUEUE_TYPE": request.param,
    }
    return node


def beat(scene: Scene) -> None:
    """Start a beat of its own, as a fleet has it."""
    scene.worker = BEATLESS
    scene.stack.start("beat", "-m", "worker.cli", "beat")


def nothing_left(rabbit: RabbitServer) -> bool:
    """Whether every message was acknowledged; of beat's there is always one on its way."""
    left = [row for name, row in rabbit.queues().items() if name != SWEEP]
    return not any(row["messages_ready"] + row["messages_unacknowledged"] for row in left)


def some_are_held(rabbit: RabbitServer) -> bool:
    """Whether messages were fetched and not acknowledged; of quorum queues that is told late."""
    return bool(rabbit.queues()["interactive"]["messages_unacknowledged"])


async def test_jobs_run_and_every_message_is_acknowledged(
    on_postgres: Scene, rabbit: RabbitServer
) -> None:
    scene = on_postgres
    scene.lease(60)
    beat(scene)
    await scene.employ(1)
    async with scene.load() as load:
        await load.submit(10, LONG, ONCE)
        await load.running(10)
        await load.submit(10, expected=ONCE, lane="bulk")
        # rabbitmqctl is an Erlang node of its own, and takes longer to answer than a job to end.
        scene.workers[0].send(signal.SIGSTOP)
        await asyncio.to_thread(eventually, partial(some_are_held, rabbit))
        found = await asyncio.to_thread(rabbit.queues)
        scene.workers[0].send(signal.SIGCONT)

    assert found.keys() == set(QUEUES)
    assert {row["type"] for row in found.values()} == {scene.stack.env["DELTAWORKS_QUEUE_TYPE"]}
    assert scene.figures.resent == 0
    eventually(partial(nothing_left, rabbit))


async def test_what_a_killed_worker_had_fetched_is_delivered_to_another(
    on_postgres: Scene, rabbit: RabbitServer
) -> None:
    scene = on_postgres
    beat(scene)
    await scene.employ(2)
    async with scene.load() as load:
        for _ in range(4):
            await load.submit(8)
            await load.submit(4, LONG)
            await asyncio.sleep(scene.random.uniform(0.3, 0.9))
            await scene.kill()

    assert scene.figures.kills == 4 and scene.figures.rescued > 0
    # RabbitMQ hands a dead connection's messages out again by itself: no sweep had to resend one.
    assert scene.figures.resent == 0
    eventually(partial(nothing_left, rabbit))


async def test_a_broker_that_dies_and_comes_back_costs_no_stream_and_no_prompt(
    on_postgres: Scene, rabbit: RabbitServer
) -> None:
    scene = on_postgres
    scene.lease(20)
    beat(scene)
    await scene.employ(1)
    prompt = f"submitted-{scene.figures.seed}"
    async with scene.load() as load:
        await load.submit(8, LONG, ONCE)
        await load.running(8)
        scene.workers[0].send(signal.SIGSTOP)
        submit_as_stranger(scene, prompt)
        with scene.injury():
            # A node alone loses the names of quorum queues that are younger than three minutes when
            # it is killed (seen with 3.10.8); in a cluster the others know them.
            if scene.stack.env["DELTAWORKS_QUEUE_TYPE"] == "quorum":
                rabbit.stop()
            else:
                rabbit.kill()
            scene.workers[0].send(signal.SIGCONT)
            await load.submit(8, expected=ONCE)
            rabbit.start()  # not in a thread: the kernel ends it with the thread that started it
        await until(partial(load.reader.exists, prompt), BACK_S)
        load.accepted(prompt, ONCE)
        scene.let_time_pass(60)

    assert scene.figures.requests == scene.figures.jobs
    assert scene.workers[0].popen.poll() is None
    eventually(partial(nothing_left, rabbit))


async def test_a_job_that_outlasts_the_brokers_patience_runs_on(
    on_postgres: Scene, rabbit: RabbitServer
) -> None:
    scene = on_postgres
    scene.lease(20)
    beat(scene)
    rabbit.be_patient(1.0)
    try:
        await scene.employ(1)
        async with scene.load() as load:
            await load.submit(4, LONG, ONCE)
            await load.open_at_most(0)
            await load.submit(4, expected=ONCE)
    finally:
        rabbit.be_patient(PATIENCE_S)

    # Its channel was closed, the messages came again, and the jobs went on.
    (worker,) = scene.workers
    assert "delivery acknowledgement on channel" in worker.printed()
    assert worker.popen.poll() is None and scene.figures.redelivered >= 4


def submit_as_stranger(scene: Scene, id: str) -> None:
    """A prompt by way of the broker, from a service that has only Celery."""
    env = scene.stack.env
    app = Celery(broker=env["DELTAWORKS_BROKER_URL"], set_as_current=False)
    app.conf.task_create_missing_queue_type = env["DELTAWORKS_QUEUE_TYPE"]
    app.conf.broker_transport_options = {"confirm_publish": True}
    document = {"id": id, "request": chat("sim-fast?tokens=5")}
    app.send_task("deltaworks.submit", args=[document], queue="deltaworks.submit")
    app.close()
