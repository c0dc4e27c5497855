"""The simulator keeps its pace, notices who leaves, and records what it really wrote."""

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import httpx
import pytest

from tests.wire import chat, encoded, joined, post_raw, until
from worker.simulator import Simulator
from worker.simulator.completion import ground_truth
from worker.simulator.record import Served


def last(simulator: Simulator) -> Served:
    return simulator.record.served[-1]


async def test_the_record_holds_the_text_that_was_received(base_url, simulator):
    body = chat("sim-reasoning?rate=0&ttft=0&tokens=300", n=2, user="u1", metadata={"a": "b"})
    headers = {"x-deltaworks-job": "j1", "x-deltaworks-attempt": "3", "authorization": "Bearer k"}
    reply = await post_raw(base_url, body, headers)
    served = last(simulator)
    said = {(part.choice, part.channel): part for part in served.output}
    for choice in (0, 1):
        text = joined(reply.documents, choice)
        assert said[choice, "content"].text == text
        assert said[choice, "content"].length == len(text)
        assert said[choice, "content"].sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert (served.job, served.attempt, served.user) == ("j1", "3", "u1")
    assert (served.metadata, served.authorized) == ({"a": "b"}, True)
    assert (served.status, served.end, served.deltas) == (200, "clean", 680)
    assert served.finish_reasons == {0: "stop", 1: "stop"}


async def test_the_ground_truth_can_be_recomputed_from_the_request(base_url):
    body = chat("sim-fast", "who are you?", n=2, seed=7)
    reply = await post_raw(base_url, body)
    truth = ground_truth(json.dumps(body).encode())
    received = {(i, "content"): joined(reply.documents, i) for i in range(2)}
    assert truth == received


async def test_prompt_model_and_seed_choose_the_text(base_url):
    bodies = [chat("sim-fast"), chat("sim-fast", "other"), chat("sim-fast", seed=1)]
    bodies += [chat("sim-fast?seed=1"), chat("sim-fast")]
    texts = [(await post_raw(base_url, body)).text for body in bodies]
    assert len(set(texts)) == 4
    assert texts[0] == texts[4]


async def test_with_vary_each_request_of_a_conversation_gets_another_text(base_url):
    body = chat("sim-fast?vary=1")
    texts = [(await post_raw(base_url, body)).text for _ in range(2)]
    assert texts[0] != texts[1]
    assert ground_truth(json.dumps(body).encode(), "1") == {(0, "content"): texts[1]}


async def test_a_long_text_is_recorded_as_digest_and_length(base_url, simulator):
    reply = await post_raw(base_url, chat("sim-fast?tokens=2000"))
    (said,) = last(simulator).output
    assert said.text is None
    assert said.length == len(reply.text)
    assert said.sha256 == hashlib.sha256(reply.text.encode()).hexdigest()


async def test_deltas_keep_their_pace_without_drift(base_url, simulator):
    await post_raw(base_url, chat("sim?tokens=51&rate=100&ttft=0.1&record=times"))
    served = last(simulator)
    assert served.times is not None
    assert [number for number, _ in served.times] == list(range(1, 52))
    assert served.head_ns is not None
    seconds = [(at - served.head_ns) / 1e9 for _, at in served.times]
    assert seconds[0] == pytest.approx(0.1, abs=0.05)
    # Each delta is due at its own time from the start: lateness never adds up. The minimum over
    # all of them is what remains when other processes stole the processor for a while.
    lateness = [at - (0.1 + 0.01 * index) for index, at in enumerate(seconds)]
    assert -0.005 < min(lateness[-25:]) < 0.02


async def test_times_are_recorded_only_when_asked_for(base_url, simulator):
    await post_raw(base_url, chat("sim-fast"))
    assert last(simulator).times is None


async def test_a_client_that_leaves_stops_its_stream(base_url, simulator, client):
    request = client.build_request("POST", "/chat/completions", json=chat("sim?tokens=1000"))
    response = await client.send(request, stream=True)
    lines = response.aiter_lines()
    while "[simulated]" not in await anext(lines):
        pass
    await response.aclose()
    served = last(simulator)
    await until(lambda: served.end)
    assert served.end == "client"
    assert 0 < served.deltas < 1000


async def test_a_stalled_stream_notices_that_its_client_left(base_url, simulator):
    _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base_url).port)
    writer.write(encoded("/v1/chat/completions", chat("sim?fault=stall-headers")))
    await writer.drain()
    await until(lambda: simulator.record.served)
    writer.close()
    await until(lambda: last(simulator).end == "client")


async def test_nothing_is_produced_for_a_socket_that_is_full(base_url, simulator):
    tokens = 100_000
    body = chat(f"sim-fast?tokens={tokens}")
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base_url).port, limit=1024)
    writer.write(encoded("/v1/chat/completions", body))
    await reader.readexactly(500)
    # Streams take turns: while the second is read to its end, nothing but its full socket keeps
    # the first one back.
    assert (await post_raw(base_url, body)).done == 1
    unread, read = simulator.record.served
    assert 0 < unread.deltas < tokens
    assert read.deltas == tokens
    assert (await reader.read(-1)).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert unread.deltas == tokens
    writer.close()


async def test_a_thousand_streams_run_at_once_and_all_end(base_url, simulator):
    body = chat("sim?tokens=5&rate=5&ttft=1")
    replies = await asyncio.gather(*(post_raw(base_url, body) for _ in range(1000)))
    assert {reply.text for reply in replies} == {replies[0].text}
    summary = simulator.record.summary()
    assert (summary.requests, summary.open, summary.deltas) == (1000, 0, 5000)
    assert summary.concurrent_max > 500


async def test_the_summary_shows_jobs_with_two_requests_at_once(base_url, client):
    request = chat("sim?tokens=5&rate=20")
    jobs = [{"x-deltaworks-job": job} for job in ("a", "b", "b")]
    await asyncio.gather(*(post_raw(base_url, request, job) for job in jobs))
    summary = (await client.get(client.base_url.copy_with(path="/record/summary"))).json()
    assert summary["jobs"] == 2
    assert summary["concurrent_max_per_job"] == 2
    assert summary["shared_jobs"] == {"b": 2}
    assert summary["statuses"] == {"200": 3}


async def test_the_record_is_served_and_bounded():
    simulator = Simulator(record_limit=2)
    base_url = await simulator.start()
    for _ in range(3):
        await post_raw(base_url, chat("sim-fast?tokens=1"))
    async with httpx.AsyncClient() as client:
        record = (await client.get(base_url.replace("/v1", "/record"))).json()
    assert [served["number"] for served in record["data"]] == [2, 3]
    await simulator.aclose()


async def test_a_request_limit_is_enforced_with_a_wait_that_suffices():
    simulator = Simulator(requests_per_minute=600)
    base_url = await simulator.start()
    limited = chat("sim-fast?tokens=1&rpm=120")
    replies = [await post_raw(base_url, limited) for _ in range(121)]
    refused = [reply for reply in replies if reply.status == 429]
    assert len(refused) <= 1
    while (reply := await post_raw(base_url, limited)).status != 429:
        pass
    error = json.loads(reply.body)["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert reply.headers["x-ratelimit-remaining-requests"] == "0"
    assert reply.headers["x-ratelimit-limit-requests"] == "120"
    await asyncio.sleep(int(reply.headers["retry-after-ms"]) / 1000)
    assert (await post_raw(base_url, limited)).status == 200
    other = await post_raw(base_url, chat("sim-fast?tokens=1"))
    assert other.headers["x-ratelimit-limit-requests"] == "600"
    await simulator.aclose()


async def test_a_limit_with_a_small_burst_refuses_before_a_minutes_worth_is_used():
    simulator = Simulator(requests_per_minute=60, burst=2)
    base_url = await simulator.start()
    replies = [await post_raw(base_url, chat("sim-fast?tokens=1")) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[0].headers["x-ratelimit-limit-requests"] == "60"
    assert replies[0].headers["x-ratelimit-remaining-requests"] == "1"
    await simulator.aclose()


async def test_a_limit_without_headers_is_told_by_refusals_only():
    simulator = Simulator(requests_per_minute=60, burst=1, limit_headers=False)
    base_url = await simulator.start()
    served = await post_raw(base_url, chat("sim-fast?tokens=1"))
    refused = await post_raw(base_url, chat("sim-fast?tokens=1"))
    assert (served.status, refused.status) == (200, 429)
    assert not [name for name in (served.headers | refused.headers) if "ratelimit" in name]
    assert 0 < int(refused.headers["retry-after-ms"]) <= 1000
    await simulator.aclose()


async def test_closing_breaks_off_what_is_being_served():
    simulator = Simulator()
    base_url = await simulator.start()
    stream = asyncio.create_task(post_raw(base_url, chat("sim?tokens=1000")))
    await until(lambda: simulator.record.summary().open)
    await simulator.aclose()
    assert (await stream).end != "whole"
    assert last(simulator).end == "shutdown"


def test_as_a_process_it_says_when_it_listens_keeps_its_record_and_stops_on_sigterm(tmp_path):
    record = tmp_path / "record.jsonl"
    command = [sys.executable, "-m", "worker.simulator", "--record", str(record)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        base_url = process.stdout.readline().removeprefix("listening ").strip()
        answer = httpx.post(f"{base_url}/chat/completions", json=chat("sim-fast?tokens=3"))
        (line,) = record.read_text().splitlines()
        assert json.loads(line)["output"][0]["text"] == "[simulated] This text"
        assert answer.text.endswith("data: [DONE]\n\n")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()


def test_the_process_lists_its_faults():
    command = [sys.executable, "-m", "worker.simulator", "--faults"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cut-rst" in listed
    assert "status-NNN" in listed
