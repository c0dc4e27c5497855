"""Celery's pool for tasks that are coroutines: they run on the process's loop and hold no thread.

A stream's task only waits, for minutes. A thread for each costs 20 KB, and a change of threads at
either end. Here the coroutine runs first, and Celery's own tracer when it is over: the body that
the tracer calls only says how it ended. So whatever Celery does around a body (acknowledgement,
rejection, signals, events) is Celery's own, and nothing of it is replaced.

Tasks of other kinds run in threads, as in Celery's threads pool. It is an extension point of
Celery's: the setting `worker_pool` names the class.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from itertools import count
from queue import SimpleQueue
from time import monotonic
from typing import Any

from celery import Celery, Task
from celery.concurrency.base import apply_target
from celery.concurrency.thread import TaskPool
from celery.signals import worker_init
from celery.worker import WorkController
from kombu.asynchronous import Hub
from kombu.exceptions import KombuError
from kombu.serialization import loads, prepare_accept_content

from worker.process import process

# Within a task's coroutine: the headers of its message, its id among them.
message: ContextVar[Mapping[str, Any]] = ContextVar("message")


class Awaited(Task[..., None]):
    """A task whose body is an `async def`. Only `Pool` can run it."""

    abstract = True

    def __call__(self, *_: object, **__: object) -> None:
        """How the coroutine ended, for Celery's tracer: what it raised is raised."""
        over = _over.pop(str(self.request.id), None)
        if over is None:
            raise RuntimeError(f"{self.name} can only be run by a worker; send it")
        if not over.cancelled():
            over.result()


# What is over, by the ids of messages, while Celery's tracer looks at it.
_over: dict[str, "asyncio.Task[None]"] = {}


class Begun:
    """A task that was begun; `finish` is to be called, once it is over, by the hub's thread.

    `number` stands for it where Celery expects the number of a process.
    """

    __slots__ = ("__weakref__", "_cancelled", "_headers", "_task", "finish", "number")

    def __init__(self, number: int, headers: Mapping[str, Any]) -> None:
        self.number = number
        self._headers = headers
        self.finish: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    def run(self, body: Callable[[], Any], ended: Callable[["Begun"], None]) -> None:
        """Run the coroutine that `body` makes, and say when it has ended; the loop calls this."""
        task = self._task = asyncio.get_running_loop().create_task(self._awaited(body))
        task.add_done_callback(lambda _: ended(self))
        if self._cancelled:
            task.cancel()

    async def _awaited(self, body: Callable[[], Any]) -> None:
        message.set(self._headers)
        await body()

    def terminate(self, signal: object = None) -> None:
        """Have it put down what it does. Harmless where it is over."""
        process.soon(self._cancel)

    def _cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def trace(self, target: Callable[..., Any], args: Any, callback: Callable[..., Any]) -> None:
        """Have Celery's tracer see how it ended, and Celery do what follows from it."""
        assert self._task is not None
        id = str(self._headers["id"])
        _over[id] = self._task
        try:
            apply_target(target, args, callback=callback)
        finally:
            _over.pop(id, None)


class Pool(TaskPool):
    """Runs `Awaited` tasks on the process's loop.

    Celery's callbacks are called by the thread of its hub alone, in the order in which the tasks
    ended. How many run at a time is bounded by the messages that the worker fetches.
    """

    app: Celery

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._numbers = count(1)
        self._begun: dict[int, Begun] = {}
        self._ended: SimpleQueue[Begun] = SimpleQueue()
        self._hub: Hub | None = None

    def register_with_event_loop(self, hub: Hub) -> None:
        """The hub of the consumer; again after each loss of the broker."""
        self._hub = hub
        hub.call_soon(self._finish_ended)

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        callback: Any = None,
        accept_callback: Any = None,
        **options: Any,
    ) -> Any:
        """Begin a task, as Celery's `Request.execute_using_pool` asks for it."""
        name, id, request, body, content_type, encoding = args
        task = self.app.tasks.get(name)
        decoded = self._decoded(body, content_type, encoding) if isinstance(task, Awaited) else None
        if task is None or decoded is None:
            return super().on_apply(target, args, kwargs, callback, accept_callback, **options)
        begun = Begun(next(self._numbers), request)
        # Decoded: the tracer need not do it again.
        traced = name, id, request, decoded, None, None
        begun.finish = lambda: begun.trace(target, traced, callback)
        self._begun[begun.number] = begun
        accept_callback(begun.number, monotonic())
        positional, named, _ = decoded
        process.soon(begun.run, lambda: task.run(*positional, **named), self._note_ended)
        return begun

    def _decoded(self, body: Any, content_type: str, encoding: str) -> Any:
        """A message's arguments; None where the tracer is to find out what is wrong with them."""
        if not content_type:
            return body
        accept = prepare_accept_content(self.app.conf.accept_content)
        try:
            positional, named, embedded = loads(body, content_type, encoding, accept=accept)
        except (KombuError, ValueError, TypeError):
            return None
        return positional, named, embedded

    def _note_ended(self, begun: Begun) -> None:
        """Called by the loop: the rest is the hub's."""
        self._ended.put(begun)
        if self._hub is None:  # a broker whose transport knows no hub
            self.executor.submit(self._finish_ended)  # type: ignore[attr-defined]  # unknown, too
        else:
            self._hub.call_soon(self._finish_ended)

    def _finish_ended(self) -> None:
        while not self._ended.empty():
            self._finish(self._ended.get())

    def _finish(self, begun: Begun) -> None:
        del self._begun[begun.number]
        assert begun.finish is not None
        finish, begun.finish = begun.finish, None  # it holds us: no circle for the collector
        finish()

    def on_stop(self) -> None:
        """Wait for what still runs (`worker.ending` sees to it that it ends)."""
        while self._begun:
            self._finish(self._ended.get())
        super().on_stop()

    def terminate_job(self, pid: int, signal: object = None) -> None:
        """As `celery control revoke --terminate` asks: a job goes back to its queue."""
        if begun := self._begun.get(pid):
            begun.terminate(signal)

    def _get_info(self) -> Any:
        known = super()._get_info()  # type: ignore[misc]  # celery-types does not know it
        return {**known, "coroutines": len(self._begun)}


@worker_init.connect
def refuse_what_does_not_fit(sender: WorkController, **_: object) -> None:
    """Another pool, or limits of time that this one does not know."""
    chosen = sender.pool_cls  # type: ignore[attr-defined]  # celery-types does not know it
    if not issubclass(chosen, Pool):
        raise SystemExit("deltaworks: this worker needs its own pool; drop -P/--pool")
    limits = sender.time_limit, sender.soft_time_limit  # type: ignore[attr-defined]  # as above
    if any(limits):
        raise SystemExit(
            "deltaworks: jobs have deadlines of their own (deadline_at); "
            "drop --time-limit and --soft-time-limit"
        )
