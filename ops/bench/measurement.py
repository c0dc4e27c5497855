"""One measurement: one system, so many streams, one window."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from ops.bench import latency, upstream
from ops.bench.latency import Reader, Spread
from ops.bench.processes import Child, start_redis, start_simulator
from ops.bench.systems import Deltaworks, Scene, System
from ops.bench.upstream import Upstream, written_between

# Deltas a second in each stream.
RATE = 50.0
# How long opening all streams, or ending them, may take.
OPENING_S = 60.0
# How many streams open in a second before their first delta comes: while thousands already
# stream, opening the others takes its turn with them.
OPENED_PER_S = 50
# How long all streams run before the window.
SETTLING_S = 2.0
# Reading more channels than this would take more CPU than what is measured.
MOST_READ = 200


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found. Times of CPU are in microseconds for each delta.

    Attributes:
        streams, opened: how many were asked for, and how many were open.
        deltas_per_s: published, or read by what publishes nothing.
        written_per_s: written by the upstream meanwhile.
        merged: deltas in a message, on average: 1 while the process keeps up with each by itself.
        cpu_us, redis_us, simulator_us: of each process, in the window.
        core: share of a core that the system's process used.
        waited: seconds in each second that its threads waited for a core others had: well above 0
            the machine was busy with something else, latency is that of its scheduler, and more
            is merged than would be.
        whole_cpu_us: of the system's process from the first submit to the last end announced:
            claims, opening, saving and closing included.
        unfinished: jobs whose end was not announced within a minute of their streams' end.
        latency, control: of the deltas, and of bare messages through the same Redis and reader.
    """

    system: str
    streams: int
    opened: int
    deltas_per_s: float
    written_per_s: float
    merged: float
    cpu_us: float
    core: float
    waited: float
    redis_us: float
    simulator_us: float
    memory_mb: float
    whole_cpu_us: float | None = None
    unfinished: int = 0
    latency: Spread | None = None
    control: Spread | None = None


class Reading:
    """CPU times and counts at one moment."""

    def __init__(self, children: Sequence[Child], system: System, simulator: Upstream) -> None:
        self.published = system.published(simulator)
        self.messages = system.messages()
        self.cpu_s = [child.cpu_s() for child in children]
        self.waited_s = children[0].waited_s()
        self.at_ns = time.time_ns()


class Measurement:
    """The processes of one measurement, and the steps of it."""

    def __init__(self, stack: ExitStack, system: System, streams: int, window_s: float) -> None:
        self._stack = stack
        self._system = system
        self._streams = streams
        self._window_s = window_s
        self._folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="deltaworks-bench-"))
        )
        redis_server, self._redis_url = start_redis(stack, self._folder)
        simulator, base_url = start_simulator(stack, self._folder)
        self._wait_s = streams / OPENED_PER_S
        model = upstream.model(_tokens(system, window_s), RATE, self._wait_s)
        scene = Scene(self._folder, self._redis_url, base_url, streams, model)
        self._process = system.start(stack, scene)
        self._children = (self._process, redis_server, simulator)
        self._upstream = Upstream(base_url, model)

    def take(self) -> Result:
        """Open the streams, watch the window, and say what was found."""
        begun_cpu_s = self._process.cpu_s()
        channels = self._system.submit()
        opened = self._upstream.await_open(self._streams, OPENING_S)
        time.sleep(self._wait_s + SETTLING_S)
        reader = self._reader(channels)
        first = Reading(self._children, self._system, self._upstream)
        reader.control(self._window_s)
        last = Reading(self._children, self._system, self._upstream)
        memory_mb = self._process.memory_mb()
        result = self._result(opened, memory_mb, first, last)
        if not isinstance(self._system, Deltaworks):
            return result
        unfinished = self._system.await_end(OPENING_S)
        whole_cpu_s = self._process.cpu_s() - begun_cpu_s
        arrivals, served = reader.arrivals(), self._upstream.served()
        deltas = sum(request.deltas for request in served)
        return msgspec.structs.replace(
            result,
            unfinished=unfinished,
            whole_cpu_us=round(whole_cpu_s / deltas * 1e6, 1),
            latency=latency.of_deltas(arrivals, served, self._upstream),
            control=latency.of_control(arrivals),
        )

    def _reader(self, channels: list[str]) -> Reader:
        readable = channels[:MOST_READ] if isinstance(self._system, Deltaworks) else []
        reading_s = self._window_s + 0.5
        reader = Reader(self._redis_url, readable, reading_s, self._folder / "arrivals")
        return self._stack.enter_context(reader)

    def _result(self, opened: int, memory_mb: float, first: Reading, last: Reading) -> Result:
        elapsed_s = (last.at_ns - first.at_ns) / 1e9
        written = written_between(self._upstream.served(), first.at_ns, last.at_ns)
        published = written
        if first.published is not None and last.published is not None:
            published = last.published - first.published
        # What was written before the window and published in it does not count.
        counted = min(written, published)
        if not counted:
            raise RuntimeError(f"nothing was published:\n{self._process.printed()[-3000:]}")
        used_s = [after - before for before, after in zip(first.cpu_s, last.cpu_s, strict=True)]
        system_us, redis_us, simulator_us = (round(cpu_s / counted * 1e6, 1) for cpu_s in used_s)
        return Result(
            system=self._system.name,
            streams=self._streams,
            opened=opened,
            deltas_per_s=round(counted / elapsed_s),
            written_per_s=round(written / elapsed_s),
            merged=round(published / ((last.messages - first.messages) or published), 2),
            cpu_us=system_us,
            core=round(used_s[0] / elapsed_s, 3),
            waited=round((last.waited_s - first.waited_s) / elapsed_s, 3),
            redis_us=redis_us,
            simulator_us=simulator_us,
            memory_mb=round(memory_mb),
        )


def measure(system: System, streams: int, window_s: float) -> Result:
    """One measurement, from the start of its processes to their end."""
    with ExitStack() as stack:
        return Measurement(stack, system, streams, window_s).take()


def _tokens(system: System, window_s: float) -> int:
    # Deltaworks' streams run to their end; those of others only have to outlast the window.
    opening_s = 10.0 if isinstance(system, Deltaworks) else OPENING_S
    return int(RATE * (opening_s + SETTLING_S + window_s + 2))
