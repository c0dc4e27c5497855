"""Many readers of few jobs, on one gateway process and one core of its own."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec

from ops.bench import upstream
from ops.bench.cores import alone
from ops.bench.gateway.clients import Clients
from ops.bench.gateway.connections import Request, Response, arrivals
from ops.bench.gateway.systems import Gateway
from ops.bench.processes import start_redis, start_simulator
from ops.bench.systems import Scene

# Each job's deltas, and how many a second.
TOKENS, RATE = 60, 2.0
# Readers, jobs, and deltas a second: many of each, and a thousand of one.
LOADS = ((5_000, 100, RATE), (1_000, 1, 10.0))
# How many readers a second have connected at least, before the first delta comes.
CONNECTED_PER_S = 200
# After that they are left idle for so long.
IDLE_S = 5.0
# How long the end may take.
PATIENCE_S = 300.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found.

    Attributes:
        readers, jobs: how many.
        right: readers whose text is the saved one, and whose ids rise without a gap.
        idle_kb: memory that an idle reader took in the gateway's process, in KB.
        events: delivered to all readers together.
        events_per_s: in the time from the first delta to the last.
        cpu_us: of the gateway's process for each event delivered.
        core: share of a core it used in that time.
    """

    readers: int
    jobs: int
    right: int
    idle_kb: float
    events: int
    events_per_s: int
    cpu_us: float
    core: float


class _Delta(msgspec.Struct):
    type: str
    choice: int = 0
    text: str | None = None


def measure(readers: int, jobs: int, rate: float = RATE) -> Result:
    """So many readers, evenly on so many jobs."""
    with ExitStack() as stack:
        prefix = "deltaworks-bench-"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        _, redis_url = start_redis(stack, folder)
        _, base_url = start_simulator(stack, folder)
        wait_s = readers / CONNECTED_PER_S + IDLE_S
        model = upstream.model(TOKENS, rate, wait_s)
        system = Gateway()
        gateway, _ = system.open(stack, Scene(folder, redis_url, base_url, jobs, model))
        with httpx.Client(base_url=system.address, timeout=60) as http, alone(gateway):
            ids = _submit(http, jobs, model)
            requests = [Request("GET", f"/v1/jobs/{ids[n % jobs]}/events") for n in range(readers)]
            before_mb = gateway.memory_mb()
            clients = stack.enter_context(Clients(system.address, requests, folder))
            clients.await_begun()
            time.sleep(IDLE_S / 2)
            idle_mb, begun_s, begun_at = gateway.memory_mb(), gateway.cpu_s(), time.monotonic()
            responses = clients.responses(PATIENCE_S)
            used_s, took_s = gateway.cpu_s() - begun_s, time.monotonic() - begun_at
            saved = {id: http.get(f"/v1/jobs/{id}").json()["output_text"] for id in ids}
        heard = [_hear(response) for response in responses]
    events = sum(count for count, _ in heard)
    first, last = _span(responses)
    return Result(
        readers=readers,
        jobs=jobs,
        right=sum(text == saved[ids[n % jobs]] for n, (_, text) in enumerate(heard)),
        idle_kb=round((idle_mb - before_mb) * 1000 / readers, 1),
        events=events,
        events_per_s=round(events / (last - first)),
        cpu_us=round(used_s / events * 1e6, 1),
        core=round(used_s / took_s, 2),
    )


def _submit(http: httpx.Client, jobs: int, model: str) -> list[str]:
    """Jobs that all say something else."""
    documents = [
        {"request": {"model": model, "messages": [{"role": "user", "content": f"Number {number}"}]}}
        for number in range(jobs)
    ]
    answer = http.post("/v1/jobs", json={"jobs": documents}).raise_for_status().json()
    return [job["id"] for job in answer["data"]]


def _hear(response: Response) -> tuple[int, str]:
    """How many events a reader was given, and its text; empty where an id does not rise."""
    count, text, last = 0, "", (0, -1)
    for frame in arrivals(response):
        event = msgspec.json.decode(frame.data, type=_Delta)
        attempt, _, offset = frame.id.partition("-")
        place = int(attempt), int(offset)
        if place <= last:
            return 0, ""
        count, last = count + 1, place
        if event.type == "started":
            text = ""
        elif event.type == "delta" and event.choice == 0:
            text += event.text or ""
    return count, text


def _span(responses: Sequence[Response]) -> tuple[float, float]:
    """When the first delta arrived, and the last event, in seconds since the epoch."""

    def moments() -> Iterator[tuple[int, int]]:
        for response in responses:
            deltas = [frame.at_ns for frame in arrivals(response) if frame.event == "delta"]
            yield deltas[0], deltas[-1]

    firsts, lasts = zip(*moments(), strict=True)
    return min(firsts) / 1e9, max(lasts) / 1e9
