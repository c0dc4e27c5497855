"""One trace from the sender through the broker and all attempts to the end, whoever makes them."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from celery import Celery
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from models import Job
from tests.collector import Collector, Spanned, collecting
from tests.stack import Stack, address_of, chat
from tests.upstream_server import serving
from tests.wire import until
from worker.tracing.context import context_of
from worker.tracing.spans import JobSpans
from worker.transitions import Step, Transition

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
PROMPT = "canary-prompt-a1c9"
SHORT = {"DELTAWORKS_LEASE_S": "1", "DELTAWORKS_RENEW_S": "0.3", "DELTAWORKS_SWEEP_S": "0.3"}


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """A column is a column in each database (see `test_store_schema`)."""
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def named(spans: list[Spanned], name: str) -> list[Spanned]:
    return [span for span in spans if span.name == name]


async def test_one_trace_leads_from_the_senders_request_through_a_retry_to_the_end(
    stack: Stack, collector: Collector
) -> None:
    stack.sweeping_worker(**collector.env)
    gateway = address_of(stack.gateway(**collector.env))
    model = "sim?tokens=20&rate=0&fault=cut-eof&vary=1"
    async with stack.reader() as reader, httpx.AsyncClient(base_url=gateway) as client:
        sent = {"request": chat(model, PROMPT, temperature=0.5)}
        job = (await client.post("/v1/jobs", json=sent, headers=HEADERS)).json()
        await reader.end(job["id"])
        await until(lambda: named(collector.spans(), "run interactive"))
        spans = collector.spans()

    assert {span.trace for span in spans} == {TRACE}
    (submit,), (run,) = named(spans, "submit interactive"), named(spans, "run interactive")
    (settle,) = named(spans, "settle")
    failed, answered = named(spans, f"chat {model}")
    assert (submit.parent, submit.service) == (PARENT, "deltaworks-gateway")
    assert (run.parent, run.service) == (submit.id, "deltaworks-worker")
    assert {failed.parent, answered.parent, settle.parent} == {run.id}
    assert run.attributes["deltaworks.state"] == "completed" and not run.failed
    assert failed.failed and failed.attributes["error.type"] == "truncated"
    told = answered.attributes
    assert answered.events == ["gen_ai.first_token"] and not answered.failed
    assert told["gen_ai.operation.name"] == "chat" and told["gen_ai.request.model"] == model
    assert told["gen_ai.response.finish_reasons"] == ["stop"] and told["gen_ai.response.model"]
    assert told["gen_ai.request.temperature"] == 0.5 and told["gen_ai.request.stream"] is True
    assert told["gen_ai.usage.output_tokens"] == 20 and told["gen_ai.usage.input_tokens"]
    assert told["server.address"] == "127.0.0.1" and told["server.port"]
    assert told["gen_ai.provider.name"] and told["deltaworks.attempt"] == 2
    everything = b"".join(collector.bodies)
    assert PROMPT.encode() not in everything and b"canary-key" not in everything


async def test_a_job_rescued_from_a_killed_worker_stays_in_the_trace_of_its_message(
    stack: Stack, collector: Collector
) -> None:
    doomed = stack.worker(**SHORT, **collector.env)
    id = str(uuid.uuid4())
    celery = Celery(broker=stack.env["DELTAWORKS_REDIS_URL"], set_as_current=False)
    celery.send_task(
        "deltaworks.submit",
        args=[{"id": id, "request": chat("sim?tokens=100&rate=100&vary=1", PROMPT)}],
        queue="deltaworks.submit",
        headers=HEADERS,
    )
    celery.close()
    async with stack.reader() as reader:
        await until(lambda: stack.record() and named(collector.spans(), "submit interactive"))
        await asyncio.to_thread(doomed.kill)
        stack.sweeping_worker(**SHORT, **collector.env, DELTAWORKS_TRACE_CONTENT="true")
        text, _, job = await reader.end(id)
        await until(lambda: named(collector.spans(), "run interactive"))
        spans = collector.spans()

    assert job.attempt == 3 and {span.trace for span in spans} == {TRACE}
    (submit,), (run,) = named(spans, "submit interactive"), named(spans, "run interactive")
    (rescue,) = named(spans, "rescue")
    assert submit.parent == PARENT and {run.parent, rescue.parent} == {submit.id}
    (answered,) = [span for span in spans if span.name.startswith("chat ")]
    assert answered.attributes["deltaworks.attempt"] == 3
    # Prompts and answers were asked for.
    (asked,) = json.loads(str(answered.attributes["gen_ai.input.messages"]))
    (said,) = json.loads(str(answered.attributes["gen_ai.output.messages"]))
    assert asked == {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}
    assert said["parts"] == [{"type": "text", "content": text}]
    assert said["finish_reason"] == "stop"


async def test_an_upstream_is_sent_the_trace_also_where_nobody_makes_spans(stack: Stack) -> None:
    done = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head + done + b"data: [DONE]\n\n")
        writer.close()

    async with serving(answer) as upstream, stack.reader() as reader:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        await asyncio.to_thread(stack.sweeping_worker, OPENAI_BASE_URL=url)
        gateway = address_of(await asyncio.to_thread(stack.gateway, OPENAI_BASE_URL=url))
        async with httpx.AsyncClient(base_url=gateway) as client:
            sent = {"request": chat("any")}
            job = (await client.post("/v1/jobs", json=sent, headers=HEADERS)).json()
        await reader.end(job["id"])

    head = next(head for head in upstream.heads if head.startswith(b"POST")).lower()
    assert f"traceparent: {HEADERS['traceparent']}\r\n".encode() in head
    assert b"tracestate: vendor=1\r\n" in head


def test_holds_of_a_job_that_nobody_traced_share_a_trace_and_one_decision_to_sample() -> None:
    exporter = InMemorySpanExporter()
    job = Job(id="job_0123456789abcdef", lane="bulk", attempt=1, state="in_progress")
    for _ in range(2):  # two processes
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        spans = JobSpans(provider)
        spans.observe(Transition(Step.CLAIMED, job))
        spans.observe(Transition(Step.GIVEN_BACK, job, wait_s=1.0, reason="deferred"))
        provider.shutdown()
        exporter._stopped = False
    traces = {span.context.trace_id for span in exporter.get_finished_spans()}
    assert len(traces) == 1 and len(exporter.get_finished_spans()) == 2

    unsampled = TracerProvider(sampler=ALWAYS_OFF)
    unsampled.add_span_processor(SimpleSpanProcessor(exporter))
    JobSpans(unsampled).observe(Transition(Step.CLAIMED, job))
    assert len(exporter.get_finished_spans()) == 2


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_a_header_that_names_no_trace_is_as_good_as_none(parent: str) -> None:
    assert context_of({"traceparent": parent}) is None
    assert context_of({"traceparent": HEADERS["traceparent"], "tracestate": "x" * 513}) == {
        "traceparent": HEADERS["traceparent"]
    }
