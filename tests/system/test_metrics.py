"""What Prometheus reads from a worker, beat and a gateway while jobs come to all kinds of ends."""

import asyncio
import json
import socket
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from models import JobState, Lane
from tests.servers import free_port
from tests.stack import Process, Stack, address_of, chat
from tests.upstreams import submitted
from tests.wire import until
from worker.errors import Category
from worker.limiter import Reason
from worker.metrics import names

PROMPT = "the-canary-prompt"
# Labels whose values are words of our own.
WORDS = {
    "lane": set(Lane),
    "state": {*JobState, "done", "failed", "open"},
    "category": {*Category, "none", "drained", "lost", "cancelled"},
    "reason": {*Reason, *Category, "pace", "retry", "deferred", "drained", "untrusted", "taken"},
    "answer": {*Reason, "granted"},
    "upstream": {"127.0.0.1", "other"},
    "model": {"other"},
    "status": {"200", "201", "in_progress", "validating", "finalizing", "cancelling"},
}

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(process: Process) -> tuple[str, Series]:
    """What the process serves, as text and by name and labels."""
    address = process.printed().split("metrics at ")[1].split()[0]
    with urllib.request.urlopen(address, timeout=10) as response:
        text = response.read().decode()
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    return text, {(each.name, frozenset(each.labels.items())): each.value for each in samples}


def value(series: Series, name: str, **labels: str) -> float:
    """The sum of the series of this name that have these labels."""
    wanted = set(labels.items())
    return sum(found for (each, has), found in series.items() if each == name and wanted <= has)


def posted(address: str, path: str, document: object = None) -> Any:
    body = json.dumps(document).encode() if document is not None else b""
    request = urllib.request.Request(
        f"{address}{path}", body, {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_series_move_with_the_jobs_and_tell_nothing_of_them(stack: Stack) -> None:
    own_port = {"DELTAWORKS_METRICS_PORT": "0"}
    worker = stack.start("worker", "-m", "worker.cli", "worker", **own_port)
    gateway = stack.gateway(**own_port)
    worker.await_print("ready: ")
    address = address_of(gateway)
    async with stack.reader() as reader:
        ids = [
            await submitted(stack, reader, "sim-fast?tokens=9&vary=1"),
            await submitted(stack, reader, "sim?tokens=40&rate=400&fault=cut-eof&vary=1"),
            await submitted(stack, reader, "sim-fast?fault=context-length", lane="bulk"),
        ]
        slow = {"request": chat("sim?tokens=900&rate=30", PROMPT)}
        cancelled = posted(address, "/v1/jobs", slow)["id"]
        for id in ids:
            await reader.end(id)

        async def streams() -> bool:
            return value(scraped(worker)[1], "deltaworks_open_streams", upstream="127.0.0.1") == 1

        await until(streams)
        await asyncio.to_thread(posted, address, f"/v1/jobs/{cancelled}/cancel")
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        await submitted(stack, reader, "sim-fast", scheduled_at=later)

        beat = stack.start("beat", "-m", "worker.cli", "beat", **own_port)
        beat.await_print("metrics at ")

        async def has_swept() -> bool:
            swept = value(scraped(worker)[1], "deltaworks_sweep_timestamp_seconds")
            surveyed = value(scraped(beat)[1], "deltaworks_survey_timestamp_seconds")
            return swept > 0 and surveyed > 0

        await until(has_swept)
        await until(lambda: _is_free(worker))

    (told, of_worker), (_, of_gateway), (_, of_beat) = map(scraped, (worker, gateway, beat))
    assert_jobs_are_counted(of_worker)
    assert value(of_gateway, "deltaworks_jobs_ended_total", state="cancelled") == 1
    assert value(of_gateway, "deltaworks_attempts_total", category="cancelled") == 1
    assert value(of_gateway, "deltaworks_jobs_submitted_total", lane="interactive") == 1
    assert value(of_gateway, "deltaworks_gateway_responses_total") == 2
    assert value(of_beat, "deltaworks_queued_jobs", waiting="moment", lane="interactive") == 1
    assert value(of_beat, "deltaworks_redis_memory_bytes", server="broker") > 0
    assert value(of_beat, "deltaworks_worker_processes") == 1
    for process in (worker, gateway, beat):
        assert_bounded(*scraped(process), ids=[*ids, cancelled])
    assert "deltaworks_queued_jobs" not in told.replace("# ", "")


async def _is_free(worker: Process) -> bool:
    return value(scraped(worker)[1], "deltaworks_held_jobs") == 0


def assert_jobs_are_counted(series: Series) -> None:
    """Of what the worker was given two ended well, one of them at the second try, and one not."""
    ended = "deltaworks_jobs_ended_total"
    assert value(series, ended, state="completed", lane="interactive", category="none") == 2
    assert value(series, ended, state="failed", lane="bulk", category="context_length") == 1
    assert value(series, ended) == 3
    retried = {"category": "truncated", "code": "stream_truncated"}
    assert value(series, "deltaworks_retries_total", **retried) == 1
    assert value(series, "deltaworks_attempts_total", category="none") == 2
    assert value(series, "deltaworks_first_token_seconds_count", lane="interactive") >= 2
    assert value(series, "deltaworks_wait_seconds_count", reason="retry") == 1
    assert value(series, "deltaworks_tokens_total", kind="output") == 49
    assert value(series, "deltaworks_deltas_total", lane="interactive") > 3
    assert value(series, "deltaworks_publish_seconds_count") > 3
    assert value(series, "deltaworks_limiter_answers_total", answer="granted") >= 5
    assert value(series, "deltaworks_held_jobs") == value(series, "deltaworks_open_streams") == 0
    assert value(series, "deltaworks_lease_losses_total") == 0
    assert value(series, "deltaworks_database_errors_total") == 0


def assert_bounded(text: str, series: Series, ids: list[str]) -> None:
    """Names are the file's, values of labels words of our own; nothing is told of a job."""
    known = {each.name: set(each.labels) for each in names.ALL}
    for name, labels in series:
        plain = name
        for suffix in ("_bucket", "_sum", "_count"):
            plain = plain if plain in known else plain.removesuffix(suffix)
        has = dict(labels)
        assert plain in names.OF_THE_PROCESS or set(has) - {"le"} == known[plain], name
        assert all(has[label] in WORDS[label] for label in has.keys() & WORDS.keys()), labels
    assert PROMPT not in text and "canary" not in text and "sim" not in text
    assert not any(id in text for id in ids)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_metrics_are_on_a_port_of_their_own_and_only_where_that_is_set(stack: Stack) -> None:
    gateway = stack.gateway()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address_of(gateway)}/metrics", timeout=10)
    refused.value.close()
    assert refused.value.code == 404 and "metrics at" not in gateway.printed()

    taken = str(free_port())
    with socket.create_server(("127.0.0.1", int(taken))):
        beat = stack.start("beat", "-m", "worker.cli", "beat", DELTAWORKS_METRICS_PORT=taken)
        assert beat.popen.wait(30) == 2
    assert f"DELTAWORKS_METRICS_PORT={taken}" in beat.printed()
    assert "Traceback" not in beat.printed()
