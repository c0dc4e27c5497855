"""The recipe everybody writes first: a Celery task, the openai SDK, a PUBLISH for each delta.

Runs in an environment of its own. Its Redis pool is as large as it needs: with redis-py's
default of 100 connections its tasks die beyond that.
"""

import os

from celery import Celery
from openai import OpenAI
from redis import ConnectionPool, Redis

app = Celery("recipe", broker=os.environ["RECIPE_REDIS_URL"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1)

upstream = OpenAI(base_url=os.environ["RECIPE_BASE_URL"], api_key="none", max_retries=0)
connections = ConnectionPool.from_url(os.environ["RECIPE_REDIS_URL"], max_connections=10_000)
live = Redis(connection_pool=connections)


@app.task(name="complete")
def complete(channel: str, model: str, messages: list[dict[str, str]]) -> str:
    """Stream one completion to `channel`; returns its text."""
    stream = upstream.chat.completions.create(model=model, messages=messages, stream=True)
    pieces = []
    for chunk in stream:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            pieces.append(text)
            live.publish(channel, text)
    return "".join(pieces)
