"""One measurement: one system, so many streams, one window."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from ops.bench import arrivals, upstream
from ops.bench.arrivals import Reader
from ops.bench.cores import alone
from ops.bench.processes import Child, start_redis, start_simulator
from ops.bench.spread import Spread
from ops.bench.systems import Deltaworks, Scene, System
from ops.bench.upstream import Upstream, written_between

# How long opening all streams may take us, and others; and ending ours.
OPENING_S, THEIR_OPENING_S, ENDING_S = 60.0, 20.0, 60.0
# Of so many streams the ends are awaited: those of more would take longer than all the rest.
MOST_ENDED = 1000
# How many streams open in a second before their first delta comes: while thousands already
# stream, opening the others takes its turn with them.
OPENED_PER_S = 150
# How long all streams run before the window, and after it where opening them took no longer.
SETTLING_S, SPARE_S = 1.5, 6.0
# Reading more deltas a second than this would take more of the core that the simulator and Redis
# share than what is measured leaves.
MOST_READ_PER_S = 2500
# What is published of what is written by a system that keeps up, and by one that is not yet
# saturated.
KEPT_UP, CARRIED = 0.98, 0.9


class Load(msgspec.Struct, frozen=True):
    """So many streams, each of so many deltas a second."""

    streams: int
    rate: float

    @property
    def asked_per_s(self) -> float:
        """Deltas a second of all streams."""
        return self.streams * self.rate


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found. Times of CPU are in microseconds for each delta.

    Attributes:
        run: its number.
        opened: how many streams were open from the window's begin to its end.
        deltas_per_s: published, or read by what publishes nothing.
        written_per_s: written by the upstream meanwhile.
        merged: deltas in a message, or in a read of what publishes nothing, on average: 1 while
            the process keeps up with each by itself.
        cpu_us, redis_us, simulator_us: of each process, in the window.
        core: share of a core that the system's process used.
        waited: seconds in each second that its threads waited for a core others had: well above 0
            the machine was busy with something else, latency is that of its scheduler, and more
            is merged than would be.
        whole_cpu_us: of the system's process from the first submit to the last end announced:
            claims, opening, saving and closing included. Of ours, where the ends are awaited.
        unfinished: jobs whose end was not announced within a minute of their streams' end.
        latency, control: of ours below saturation: of the deltas, and of bare messages through
            the same Redis and reader.
    """

    system: str
    run: int
    load: Load
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

    @property
    def kept_up(self) -> bool:
        """Whether all streams were open, and nearly all that was written was published."""
        everything = self.opened >= self.load.streams
        return everything and self.deltas_per_s >= KEPT_UP * self.written_per_s

    @property
    def saturated(self) -> bool:
        """Whether more streams would bring nothing; those that are not open ask for nothing."""
        asked_per_s = self.load.rate * min(self.opened, self.load.streams)
        return self.deltas_per_s < CARRIED * max(self.written_per_s, asked_per_s)

    @property
    def starved(self) -> bool:
        """Whether that is because the simulator writes no more: its core is full."""
        return self.saturated and self.deltas_per_s >= CARRIED * self.written_per_s


class Reading:
    """CPU times and counts at one moment."""

    def __init__(self, children: Sequence[Child], system: System, simulator: Upstream) -> None:
        self.progress = system.progress(simulator)
        self.cpu_s = [child.cpu_s() for child in children]
        self.waited_s = children[0].waited_s()
        self.at_ns = time.time_ns()


class Measurement:
    """The processes of one measurement, and the steps of it."""

    def __init__(self, stack: ExitStack, system: System, load: Load, window_s: float) -> None:
        self._stack = stack
        self._system = system
        self._load = load
        self._window_s = window_s
        self._ours = isinstance(system, Deltaworks)
        self._to_the_end = self._ours and load.streams <= MOST_ENDED
        self._folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="deltaworks-bench-"))
        )
        redis_server, self._redis_url = start_redis(stack, self._folder)
        simulator, base_url = start_simulator(stack, self._folder)
        self._wait_s = 0.5 + load.streams / OPENED_PER_S if self._ours else 0.0
        model = upstream.model(self._tokens(), load.rate, self._wait_s)
        scene = Scene(self._folder, self._redis_url, base_url, load.streams, model)
        self._process = system.start(stack, scene)
        self._children = (self._process, redis_server, simulator)
        self._upstream = Upstream(base_url, model)

    def take(self, run: int) -> Result:
        """Open the streams, watch the window, and say what was found.

        Raises:
            RuntimeError: nothing was published; with what the system printed last.
        """
        begun_cpu_s = self._process.cpu_s()
        channels = self._system.submit()
        opened = self._upstream.await_open(
            self._load.streams, OPENING_S if self._ours else THEIR_OPENING_S
        )
        self._stack.enter_context(alone(self._process))
        time.sleep(self._wait_s + SETTLING_S)
        reader = self._reader(channels)
        first = Reading(self._children, self._system, self._upstream)
        reader.control(self._window_s)
        last = Reading(self._children, self._system, self._upstream)
        opened = min(opened, self._upstream.open())
        result = self._result(run, opened, first, last)
        if not isinstance(self._system, Deltaworks) or result.saturated:
            return result
        arrived, served = reader.arrivals(), self._upstream.served()
        result = msgspec.structs.replace(
            result,
            latency=arrivals.of_deltas(arrived, served, self._upstream),
            control=arrivals.of_control(arrived),
        )
        if not self._to_the_end:
            return result
        unfinished = self._system.await_end(ENDING_S)
        deltas = sum(request.deltas for request in self._upstream.served())
        whole_us = (self._process.cpu_s() - begun_cpu_s) / deltas * 1e6
        return msgspec.structs.replace(
            result, unfinished=unfinished, whole_cpu_us=round(whole_us, 1)
        )

    def _reader(self, channels: list[str]) -> Reader:
        most = int(MOST_READ_PER_S / self._load.rate)
        reader = Reader(
            self._redis_url,
            channels[-most:] if self._ours else [],  # the last to open are the last to end
            self._window_s + 0.5,
            self._folder / "arrivals",
        )
        return self._stack.enter_context(reader)

    def _result(self, run: int, opened: int, first: Reading, last: Reading) -> Result:
        elapsed_s = (last.at_ns - first.at_ns) / 1e9
        written = written_between(self._upstream.served(), first.at_ns, last.at_ns)
        published = last.progress.deltas - first.progress.deltas
        messages = last.progress.messages - first.progress.messages
        # What was written before the window and published in it does not count.
        counted = min(written, published)
        if counted <= 0:
            raise RuntimeError(
                f"nothing was published while {opened:,} streams were open; a busy machine opens "
                f"them too slowly:\n{self._process.printed()[-3000:]}"
            )
        used_s = [after - before for before, after in zip(first.cpu_s, last.cpu_s, strict=True)]
        system_us, redis_us, simulator_us = (round(cpu_s / counted * 1e6, 1) for cpu_s in used_s)
        return Result(
            system=self._system.name,
            run=run,
            load=self._load,
            opened=opened,
            deltas_per_s=round(counted / elapsed_s),
            written_per_s=round(written / elapsed_s),
            merged=round(published / (messages or published), 2),
            cpu_us=system_us,
            core=round(used_s[0] / elapsed_s, 3),
            waited=round((last.waited_s - first.waited_s) / elapsed_s, 3),
            redis_us=redis_us,
            simulator_us=simulator_us,
            memory_mb=round(self._process.memory_mb()),
        )

    def _tokens(self) -> int:
        # Those that do not run to their end only have to outlast the window.
        opening_s = OPENING_S if self._ours else THEIR_OPENING_S
        if self._to_the_end:
            opening_s = self._wait_s
        seconds = opening_s + SETTLING_S + self._window_s + SPARE_S
        return max(2, int(self._load.rate * seconds))


def measure(system: System, load: Load, window_s: float, run: int) -> Result:
    """One measurement, from the start of its processes to their end.

    Raises:
        RuntimeError: the system does not start, or publishes nothing.
    """
    with ExitStack() as stack:
        return Measurement(stack, system, load, window_s).take(run)
