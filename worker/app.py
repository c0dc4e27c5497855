"""The Celery application: queues, routes, delivery. Tasks are found, and sent, by name.

`celery -A worker.app worker` works, and so does `deltaworks worker`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from celery import Celery
from kombu import Exchange, Queue

from models import Lane
from worker import settings
from worker.endpoints import resolve

logger = logging.getLogger(__name__)

RUN_JOB = "deltaworks.run_job"
RUN_ROWS = "deltaworks.run_rows"
SUBMIT = "deltaworks.submit"
SWEEP = "deltaworks.sweep"
DISPATCH = "deltaworks.dispatch"

QUEUES = (Lane.INTERACTIVE.value, Lane.BULK.value, SUBMIT, SWEEP)

# Redelivery of what a dead worker had fetched; far above the longest attempt, and harmless when
# it comes too early: the claim makes a second delivery a no-op.
VISIBILITY_TIMEOUT_S = 7200
# How long a submit waits for the broker to take its wake-up; the sweep sends it otherwise.
WAKE_S = 3.0
ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}

# Sends a job's wake-up, by id and lane, to the broker; False where that failed.
Wake = Callable[[str, str], Awaitable[bool]]
# Has a worker look at once for what is to be done; False where it could not be told.
Nudge = Callable[[], Awaitable[bool]]

app = Celery("deltaworks", include=["worker.tasks"], set_as_current=False)


def _defaults() -> dict[str, object]:
    """Read when the application is first used, not when it is imported."""
    chosen, broker_url = settings.load(), resolve().broker_url
    return {
        "broker_url": broker_url,
        "broker_transport_options": _transport_options(broker_url),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Whoever can write to the broker can run a task: never by pickle.
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_default_queue": Lane.INTERACTIVE.value,
        "task_queues": [_queue(name, chosen.queue_type) for name in QUEUES],
        "task_create_missing_queues": False,
        "task_routes": {
            SUBMIT: {"queue": SUBMIT},
            SWEEP: {"queue": SWEEP},
            DISPATCH: {"queue": Lane.BULK.value},
        },
        "worker_pool": "worker.pool:Pool",
        "worker_consumer": "worker.consumer:Consumer",
        "worker_concurrency": chosen.streams,
        "worker_prefetch_multiplier": 1,
        # After a lost connection Celery would raise its prefetch count step by step, from the
        # threads that ended a task. With RabbitMQ that is a question on the connection, and the
        # thread that asks takes the answer from the one that listens: both wait for ever.
        "worker_enable_prefetch_count_reduction": _is_redis(broker_url),
        # RabbitMQ closes the channel of a message that is not acknowledged within half an hour, and
        # of whoever acknowledges it later: a worker opens another one and does not end.
        "broker_channel_error_retry": not _is_redis(broker_url),
        # Where there are quorum queues Celery declares 28 more for tasks that are due later, of
        # which we send none: they need no replicas.
        "broker_native_delayed_delivery_queue_type": "classic",
        # A broker that blinks must not throw away paid tokens: the lease decides who owns a job.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        # The arguments of deltaworks.submit are prompts.
        "worker_send_task_events": False,
        "worker_log_color": False,
        "beat_schedule": {
            "sweep": {
                "task": SWEEP,
                "schedule": chosen.sweep_s,
                "options": {"expires": 2 * chosen.sweep_s},
            }
        },
        # The schedule is code; what beat remembers of it need not outlive the process.
        "beat_scheduler": "celery.beat:Scheduler",
        "timezone": "UTC",
    }


def _queue(name: str, kind: str) -> Queue:
    # Classic is what a plain Celery sender declares: named as an argument, they would differ.
    arguments = {"x-queue-type": kind} if kind != "classic" else None
    return Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments)


def _transport_options(broker_url: str) -> dict[str, object]:
    if not _is_redis(broker_url):
        # Else whoever sends while the broker is away holds a thread until it is back.
        return {"confirm_publish": True, "max_retries": 1, "interval_start": 0}
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # Unacknowledged messages are restored within seconds instead of up to 100 s.
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    }


def _is_redis(broker_url: str) -> bool:
    return not broker_url.startswith(settings.RABBITMQ_SCHEMES)


app.add_defaults(_defaults)


async def wake(id: str, lane: str) -> bool:
    """Send the job's wake-up; False where the broker did not take it in time."""
    return await _taken(f"job {id}", RUN_JOB, (id,), lane)


async def wake_rows(ids: Sequence[str]) -> bool:
    """Send one wake-up for several bulk jobs; False where the broker did not take it in time."""
    return await _taken(f"{len(ids)} jobs", RUN_ROWS, (list(ids),), Lane.BULK.value)


async def dispatch_soon() -> bool:
    """Have a worker release bulk jobs; False where the broker took no message."""
    return await _taken("the dispatcher", DISPATCH, (), Lane.BULK.value)


async def sweep_soon() -> bool:
    """Have a worker look at once for what is to be done; False where the broker took no message."""
    return await _taken("the sweep", SWEEP, (), SWEEP)


async def _taken(whose: str, task: str, arguments: tuple[object, ...], queue: str) -> bool:
    """Whether the broker took the message.

    kombu is synchronous and waits long for a silent broker: it has a thread of its own, and is
    not waited for beyond `WAKE_S`. redis-py makes a connection anew by itself; for RabbitMQ kombu
    has to, else each that was open when the broker restarted costs a wake-up.
    """
    again = not _is_redis(resolve().broker_url)
    send = partial(
        app.send_task, task, args=arguments, queue=queue, retry=again, retry_policy=ONCE_MORE
    )
    try:
        async with asyncio.timeout(WAKE_S):
            await asyncio.to_thread(send)
    except Exception as error:  # kombu raises what its transport raises; the row is the truth
        logger.warning("%s: the broker did not take a wake-up: %s", whose, type(error).__name__)
        return False
    return True
