"""A plain Celery task with late acknowledgement on Redis, as Celery's documentation has it.

Each run counts itself, reads the answer and keeps it under the job's id.
"""

import os

import httpx
import redis
from celery import Celery

STARTS, ANSWERS = "late-ack:starts", "late-ack:answers"

url = os.environ.get("LATE_ACK_REDIS_URL", "redis://127.0.0.1:1")
store = redis.Redis.from_url(url)
app = Celery("late_ack", broker=url, set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    # As delivered, what a dead worker had fetched comes again after an hour and up to 100 s, and
    # five minutes later where that worker died while it looked for messages to restore. Here it
    # takes seconds, so that what is missing in the end is lost, and not only late.
    broker_transport_options={
        "visibility_timeout": 5,
        "unacked_mutex_expire": 5,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)


@app.task(name="late_ack.complete")
def complete(id: str, body: dict[str, object]) -> None:
    """Ask the upstream, read the stream to its end, keep what it said."""
    store.hincrby(STARTS, id, 1)
    address = os.environ["LATE_ACK_BASE_URL"] + "/chat/completions"
    with httpx.stream("POST", address, json=body, timeout=60) as response:
        answer = "".join(response.iter_text())
    store.hset(ANSWERS, id, answer)
