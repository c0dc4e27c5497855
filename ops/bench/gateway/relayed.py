"""Streamed chats through our gateway beside LiteLLM's proxy: CPU and latency for each delta."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec

from ops.bench import upstream
from ops.bench.gateway.clients import Clients
from ops.bench.gateway.connections import Request, Response, arrivals
from ops.bench.gateway.systems import Relay
from ops.bench.processes import start_redis, start_simulator
from ops.bench.spread import Spread
from ops.bench.systems import Scene
from ops.bench.upstream import MESSAGES, Upstream

# Deltas a second in each stream.
RATE = 50.0
# How long all of them are watched, and how long they may take to open.
WINDOW_S, OPENING_S = 10.0, 60.0
# When a stream's first delta comes, and how much later than the first stream the last may open.
FIRST_S, SPREAD_S = 3.0, 10.0
PATIENCE_S = 300.0
# Tells the streams apart; LiteLLM passes nothing else on that would.
KEY = "&key="


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found.

    Attributes:
        written, heard: deltas that the simulator wrote, and that reached clients, in the window.
        cpu_us: of all the system's processes together, for each delta that was heard; by process
            in `parts_us`.
        complete: streams whose client has the whole text.
        latency: from the simulator's write to the client's receipt.
    """

    system: str
    streams: int
    written: int
    heard: int
    cpu_us: float
    parts_us: dict[str, float]
    complete: int
    latency: Spread


class _Served(msgspec.Struct, frozen=True):
    model: str
    times: list[tuple[int, int]] | None


class _Records(msgspec.Struct):
    data: list[_Served]


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Message


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


def measure(system: Relay, streams: int) -> Result:
    """So many streams at once, from the start of all processes to their end."""
    with ExitStack() as stack:
        prefix = "deltaworks-bench-"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        redis_server, redis_url = start_redis(stack, folder)
        _, base_url = start_simulator(stack, folder)
        tokens = int(RATE * (WINDOW_S + SPREAD_S))
        model = upstream.model(tokens, RATE, FIRST_S)
        scene = Scene(folder, redis_url, base_url, streams, model)
        processes = system.open(stack, scene) + [redis_server] * system.uses_redis
        simulator = Upstream(base_url, model)
        _warm(system)
        models = [f"{model}{KEY}{number}" for number in range(streams)]
        texts = [Upstream(base_url, each) for each in models]
        requests = [_request(each) for each in models]
        clients = stack.enter_context(Clients(system.address, requests, folder))
        simulator.await_open(streams, OPENING_S)
        time.sleep(FIRST_S + 1.0)
        begun_ns, before = time.time_ns(), [process.cpu_s() for process in processes]
        time.sleep(WINDOW_S)
        ended_ns, after = time.time_ns(), [process.cpu_s() for process in processes]
        responses = clients.responses(PATIENCE_S)
        records = httpx.get(f"{base_url.removesuffix('/v1')}/record", timeout=60).content
    times = {
        each.model: dict(each.times)
        for each in msgspec.json.decode(records, type=_Records).data
        if each.times
    }
    pieces = [list(_hear(response)) for response in responses]
    written = sum(
        begun_ns <= at_ns < ended_ns for each in times.values() for at_ns in each.values()
    )
    heard = sum(
        _heard(each, begun_ns, ended_ns, text) for each, text in zip(pieces, texts, strict=True)
    )
    names = [process.name for process in processes]
    used_us = [(last - first) / heard * 1e6 for first, last in zip(before, after, strict=True)]
    delays = [
        delay
        for each, name, text in zip(pieces, models, texts, strict=True)
        for delay in _delays(each, times.get(name, {}), text)
    ]
    return Result(
        system=system.name,
        streams=streams,
        written=written,
        heard=heard,
        cpu_us=round(sum(used_us), 1),
        parts_us={name: round(us, 1) for name, us in zip(names, used_us, strict=True)},
        complete=sum(
            each[-1][1] == text.characters for each, text in zip(pieces, texts, strict=True) if each
        ),
        latency=Spread.of(delays),
    )


def _request(model: str) -> Request:
    body = {"model": model, "messages": MESSAGES, "stream": True}
    return Request("POST", "/v1/chat/completions", msgspec.json.encode(body).decode())


def _warm(system: Relay) -> None:
    """One short stream, so that everything is imported and open."""
    body = msgspec.json.decode(_request(upstream.model(tokens=5, rate=0)).body)
    url = f"{system.address}/v1/chat/completions"
    httpx.post(url, json=body, timeout=60).raise_for_status()


def _hear(response: Response) -> Iterator[tuple[int, int]]:
    """When each piece of the text arrived, and how many characters there were then."""
    characters = 0
    for frame in arrivals(response):
        if frame.data == b"[DONE]":
            return
        for choice in msgspec.json.decode(frame.data, type=_Chunk).choices:
            if choice.delta.content:
                characters += len(choice.delta.content)
                yield frame.at_ns, characters


def _heard(pieces: Sequence[tuple[int, int]], begun_ns: int, ended_ns: int, text: Upstream) -> int:
    """How many deltas reached one client in the window."""
    before = max((so_far for at_ns, so_far in pieces if at_ns < begun_ns), default=0)
    after = max((so_far for at_ns, so_far in pieces if at_ns < ended_ns), default=0)
    return text.deltas_until(after) - text.deltas_until(before)


def _delays(
    pieces: Sequence[tuple[int, int]], written: Mapping[int, int], text: Upstream
) -> Iterator[int]:
    """From each delta's write to the arrival of the piece that ends at or beyond it; in ns."""
    seen = 0
    for arrived_ns, characters in pieces:
        until = text.deltas_until(characters)
        yield from (arrived_ns - written[delta] for delta in range(seen + 1, until + 1))
        seen = until
