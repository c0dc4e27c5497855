"""A core of its own for what is measured."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from ops.bench.processes import Child


@contextmanager
def alone(measured: Child) -> Iterator[None]:
    """One core is the measured process's, with its children: the bench and all it has started
    keep to the others, and so does what it starts meanwhile. With a single core nothing changes.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        yield
        return
    own = set(measured.pids())
    for pid in own:
        _confine(pid, cores[:1])
    others = [child.pid for child in psutil.Process().children(recursive=True)]
    for pid in [os.getpid(), *others]:
        if pid not in own:
            _confine(pid, cores[1:])
    try:
        yield
    finally:
        _confine(os.getpid(), cores)


def _confine(pid: int, cores: Sequence[int]) -> None:
    """Have all threads of the process run on these cores only."""
    with suppress(OSError):  # it has ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), cores)
