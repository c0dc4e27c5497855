"""The record: what the simulator served, for whoever checks what others made of it.

Each request becomes one `Served`, kept in memory and, on request, written as one JSON line when it
ends. Authorization headers and prompts never enter it; the messages do as a digest.
"""

import hashlib
import time
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import BinaryIO

import msgspec

from worker.simulator.steps import End, Event, Part

LONG_TEXT = 4096
"""Characters from which on the record keeps only digest and length of a text."""


class Said(msgspec.Struct, frozen=True):
    """One part of the ground truth: what was written in one channel of one choice.

    `length` counts characters (code points), `sha256` is of the UTF-8 bytes; `text` is None from
    4,096 characters on.
    """

    choice: int
    channel: str
    length: int
    sha256: str
    text: str | None

    @classmethod
    def of(cls, part: Part, pieces: list[str]) -> "Said":
        """The part from its pieces."""
        text = "".join(pieces)
        digest = hashlib.sha256(text.encode()).hexdigest()
        shown = text if len(text) < LONG_TEXT else None
        return cls(part[0], part[1], len(text), digest, shown)


class Served(msgspec.Struct):
    """One request and how it was answered.

    Attributes:
        request_id: the `x-request-id` of the response.
        number: counts the requests of this process, from 1.
        model: as requested.
        fault: the fault that struck, or "".
        stream: whether deltas were asked for.
        messages_sha256: digest of the messages, keys sorted.
        job, attempt: the `x-deltaworks-job` and `x-deltaworks-attempt` headers.
        authorized: whether a bearer key was sent.
        ordinal: the request's number in its conversation, from 0.
        started_ns, head_ns, ended_ns: wall clock, nanoseconds since the epoch.
        started_s, ended_s: the same by the monotonic clock, in seconds.
        status: of the response; None if none was sent.
        deltas: how many were written. An answer that is not streamed counts one a channel.
        output: the ground truth, as far as it was written; see `Said`.
        finish_reasons: of the choices, as far as they were written.
        end: how the response ended (`End`); "" while it runs.
        times: with `record=times`, delta number (from 1) and wall clock in ns of each write.
    """

    request_id: str
    number: int
    model: str = ""
    fault: str = ""
    stream: bool = False
    messages_sha256: str = ""
    user: str | None = None
    metadata: dict[str, str] | None = None
    job: str | None = None
    attempt: str | None = None
    authorized: bool = False
    ordinal: int = 0
    started_ns: int = msgspec.field(default_factory=time.time_ns)
    started_s: float = msgspec.field(default_factory=time.monotonic)
    head_ns: int | None = None
    ended_ns: int | None = None
    ended_s: float | None = None
    status: int | None = None
    deltas: int = 0
    output: list[Said] = msgspec.field(default_factory=list)
    finish_reasons: dict[int, str] = msgspec.field(default_factory=dict)
    end: End | str = ""
    times: list[tuple[int, int]] | None = None


class Entry:
    """A `Served` while it is served: the player tells it what left for the client."""

    def __init__(self, served: Served, record: "Record") -> None:
        self.served = served
        self._record = record
        self._pieces: defaultdict[Part, list[str]] = defaultdict(list)

    def head(self, status: int) -> None:
        """The headers were written."""
        self.served.status = status
        self.served.head_ns = time.time_ns()

    def wrote(self, event: Event) -> None:
        """An event was written."""
        if event.part is not None:
            served = self.served
            served.deltas += 1
            self._pieces[event.part].append(event.text)
            if served.times is not None:
                served.times.append((served.deltas, time.time_ns()))
        elif event.finish is not None:
            choice, reason = event.finish
            self.served.finish_reasons[choice] = reason

    def ended(self, end: End) -> None:
        """Nothing more will be written."""
        self.served.end = end
        self.served.ended_ns = time.time_ns()
        self.served.ended_s = time.monotonic()
        self.served.output = [Said.of(*part) for part in sorted(self._pieces.items())]
        self._pieces.clear()
        self._record.close(self.served)


class Summary(msgspec.Struct, frozen=True):
    """Totals since the start, also of requests the record no longer keeps.

    `shared_jobs` holds, for every job (by its header) that ever had more than one request open, the
    largest number of them.
    """

    requests: int
    open: int
    deltas: int
    statuses: dict[str, int]
    faults: dict[str, int]
    ends: dict[str, int]
    concurrent_max: int
    jobs: int
    concurrent_max_per_job: int
    shared_jobs: dict[str, int]


class Record:
    """What was served: the newest `limit` requests in memory, all of them in `path`.

    Raises OSError on construction if `path` cannot be opened for appending.
    """

    def __init__(self, path: Path | None = None, limit: int = 50_000) -> None:
        self.served: deque[Served] = deque(maxlen=limit)
        # Unbuffered: a checker may read a line as soon as the request has ended.
        self._file: BinaryIO | None = path.open("ab", buffering=0) if path else None
        self._requests = self._deltas = self._open = self._concurrent_max = 0
        self._statuses: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._open_by_job: Counter[str] = Counter()
        self._jobs: set[str] = set()
        self._shared_jobs: dict[str, int] = {}

    def open(self, request_id: str) -> Entry:
        """A new request."""
        self._requests += 1
        self._open += 1
        self._concurrent_max = max(self._concurrent_max, self._open)
        served = Served(request_id, self._requests)
        self.served.append(served)
        return Entry(served, self)

    def name_job(self, served: Served, job: str) -> None:
        """The request belongs to `job`."""
        served.job = job
        self._jobs.add(job)
        self._open_by_job[job] += 1
        together = self._open_by_job[job]
        if together > 1:
            self._shared_jobs[job] = max(together, self._shared_jobs.get(job, 0))

    def close(self, served: Served) -> None:
        """The request has ended: count it and write its line."""
        self._open -= 1
        self._deltas += served.deltas
        self._statuses[str(served.status or "none")] += 1
        self._ends[str(served.end)] += 1
        if served.fault:
            self._faults[served.fault] += 1
        if served.job is not None:
            self._leave_job(served.job)
        if self._file is not None:
            self._file.write(msgspec.json.encode(served) + b"\n")

    def _leave_job(self, job: str) -> None:
        self._open_by_job[job] -= 1
        if self._open_by_job[job] == 0:
            del self._open_by_job[job]

    def summary(self) -> Summary:
        """The totals."""
        return Summary(
            requests=self._requests,
            open=self._open,
            deltas=self._deltas,
            statuses=dict(self._statuses),
            faults=dict(self._faults),
            ends=dict(self._ends),
            concurrent_max=self._concurrent_max,
            jobs=len(self._jobs),
            concurrent_max_per_job=max(self._shared_jobs.values(), default=min(1, len(self._jobs))),
            shared_jobs=self._shared_jobs,
        )

    def release(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
