"""Watching processes that are not the test's own children, and making sure that none stays."""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

# How long anything that is on its way may take on a busy machine.
PATIENCE_S = 30.0


def eventually(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as `condition()` is true; fail when it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout_s:g} s: {condition}"
        time.sleep(0.01)


def running(pid: int) -> bool:
    """Whether the process lives. One that has ended and waits for init to reap it does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def await_end(*pids: int) -> None:
    """Return when none of these processes lives any more."""
    eventually(lambda: not any(running(pid) for pid in pids))


def processes_naming(text: str) -> list[psutil.Process]:
    """The living processes with `text` in their command line, and their descendants."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if text in " ".join(process.cmdline()):
                for relative in (process, *process.children(recursive=True)):
                    found[relative.pid] = relative
    found.pop(os.getpid(), None)
    return [process for process in found.values() if running(process.pid)]


def await_nothing_left(home: Path) -> None:
    """Return when no process of this home lives any more."""
    eventually(lambda: not processes_naming(str(home)))


def keeper_of(home: Path, name: str) -> psutil.Process:
    """The process that keeps the engine `name` of this home."""
    start = ["-m", "worker.engines", str(home), name]
    found = [process for process in processes_naming(str(home)) if process.cmdline()[1:5] == start]
    assert len(found) == 1, found
    return found[0]


def kill_keeper(home: Path, name: str) -> None:
    """SIGKILL to the keeper; return when the kernel has taken its locks back."""
    # Its main thread is a zombie before the last of its threads is gone, and its locks with it.
    keeper_of(home, name).kill()
    with (home / "engines" / name / "keeper.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def kill_processes_naming(text: str) -> None:
    """SIGKILL to all of them; return when they have ended. `text` must be the test's alone."""
    while found := processes_naming(text):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await_end(*(process.pid for process in found))
