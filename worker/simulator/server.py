"""The simulator as a server: routes, conversations, start and stop."""

import asyncio
import secrets
import signal
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from worker.errors import InvalidRequest
from worker.simulator.admission import Bucket
from worker.simulator.completion import Completion
from worker.simulator.faults import error_body, find_fault
from worker.simulator.http import Answer, Connection, HttpRequest
from worker.simulator.record import Entry, Record
from worker.simulator.request import ChatRequest, parse_request
from worker.simulator.script import ALIASES, Plan, UnknownModel, parse_model
from worker.simulator.steps import Steps, document
from worker.sockets import allow_many_sockets

OWNER = "deltaworks-simulator"

_BACKLOG = 4096
_REMEMBERED = 200_000
"""Conversations whose requests are counted; the oldest is forgotten first."""


class Simulator:
    """An OpenAI-compatible upstream that invents its text and misbehaves on demand.

    Args:
        record_path: a file that gets one JSON line for every request served.
        record_limit: requests kept in memory.
        record_times: record the wall-clock time of every delta, as `record=times` does.
        requests_per_minute: a limit over all requests, enforced with 429; 0 is none.
        burst: how many of them at once; 0 is a minute's worth.
        limit_headers: whether responses tell of that limit in `x-ratelimit-*` headers.
    """

    def __init__(
        self,
        *,
        record_path: Path | None = None,
        record_limit: int = 20_000,
        record_times: bool = False,
        requests_per_minute: int = 0,
        burst: int = 0,
        limit_headers: bool = True,
    ) -> None:
        self.record = Record(record_path, record_limit)
        self._record_times = record_times
        self._bucket = Bucket(requests_per_minute, burst, announced=limit_headers)
        self._model_buckets: dict[str, Bucket] = {}
        self._conversations: OrderedDict[str, int] = OrderedDict()
        self._connections: set[Connection] = set()
        self._routes: dict[str, dict[str, Callable[[HttpRequest], Answer]]] = {
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/models": {"GET": lambda _request: _listing(_models())},
            "/healthz": {"GET": lambda _request: _listing({"status": "ok"})},
            "/record": {"GET": lambda _request: _listing(self._records())},
            "/record/summary": {"GET": lambda _request: _listing(self.record.summary())},
        }

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, socket_path: Path | None = None
    ) -> str:
        """Listen; returns the base URL, `http://127.0.0.1:PORT/v1`.

        Port 0 takes a free one. With `socket_path` it listens on a Unix socket instead, and the
        base URL is `http://localhost/v1` for a client that connects there.
        """
        loop = asyncio.get_running_loop()
        if socket_path is not None:
            path = str(socket_path)
            self._server = await loop.create_unix_server(self._connect, path, backlog=_BACKLOG)
            return "http://localhost/v1"
        self._server = await loop.create_server(self._connect, host, port, backlog=_BACKLOG)
        bound = self._server.sockets[0].getsockname()[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{bound}/v1"

    async def aclose(self) -> None:
        """Stop listening, break off what is being served, close the record's file."""
        self._server.close()
        for connection in list(self._connections):
            connection.shut_down()
        await self._server.wait_closed()
        self.record.release()

    def _connect(self) -> Connection:
        return Connection(self._answer, self._connections)

    def _answer(self, request: HttpRequest) -> Answer:
        methods = self._routes.get(request.path)
        if methods is None:
            message = f"Unknown request URL: {request.method} {request.path}."
            return _plain(
                document(404, error_body(message, "invalid_request_error", "unknown_url"))
            )
        answer = methods.get(request.method)
        if answer is None:
            message = f"Not allowed to {request.method} on {request.path}."
            return _plain(document(405, error_body(message, "invalid_request_error")))
        return answer(request)

    def _chat(self, http: HttpRequest) -> Answer:
        started = time.perf_counter()
        entry = self.record.open(f"req_{secrets.token_hex(16)}")
        self._note_headers(entry, http.headers)
        bucket = self._bucket
        try:
            request = parse_request(http.body)
            plan = parse_model(request.model)
            bucket = self._bucket_of(request.model, plan)
            steps = self._steps(request, plan, http.headers, entry, bucket)
        except InvalidRequest as error:
            steps = _refusal(error)
        spent_ms = (time.perf_counter() - started) * 1000
        headers = {
            "x-request-id": entry.served.request_id,
            "openai-organization": OWNER,
            "openai-processing-ms": str(round(spent_ms)),
            "openai-version": "2020-10-01",
            **bucket.headers(),
        }
        return Answer(steps, headers, entry)

    def _note_headers(self, entry: Entry, headers: dict[str, str]) -> None:
        entry.served.authorized = headers.get("authorization", "").startswith("Bearer ")
        entry.served.attempt = headers.get("x-deltaworks-attempt")
        if job := headers.get("x-deltaworks-job"):
            self.record.name_job(entry.served, job)

    def _steps(
        self,
        request: ChatRequest,
        plan: Plan,
        headers: dict[str, str],
        entry: Entry,
        bucket: Bucket,
    ) -> Steps:
        served = entry.served
        served.model = request.model
        served.stream = bool(request.stream)
        served.user, served.metadata = request.user, request.metadata
        served.messages_sha256 = request.messages_sha256()
        served.times = [] if self._record_times or plan.record else None
        fault = find_fault(plan.fault) if plan.fault else None
        if not bucket.admit():
            served.fault = "requests-per-minute"
            return bucket.refusal()
        served.ordinal = self._ordinal(
            request.model, plan.key or served.job, served.messages_sha256
        )
        variation = str(served.ordinal) if plan.vary else ""
        completion = Completion(request, plan, headers, variation)
        if fault is None or not fault.strikes(plan.times, served.ordinal, served.stream):
            return completion.steps()
        served.fault = fault.name
        return fault.apply(completion.steps(), completion)

    def _bucket_of(self, model: str, plan: Plan) -> Bucket:
        if plan.rpm == 0:
            return self._bucket
        return self._model_buckets.setdefault(model, Bucket(plan.rpm))

    def _ordinal(self, model: str, key: str | None, messages: str) -> int:
        """How many requests of this conversation came before."""
        conversation = f"{model}\0{key or messages}"
        ordinal = self._conversations.pop(conversation, 0)
        self._conversations[conversation] = ordinal + 1
        if len(self._conversations) > _REMEMBERED:
            self._conversations.popitem(last=False)
        return ordinal

    def _records(self) -> dict[str, object]:
        return {"object": "list", "data": list(self.record.served)}


def _plain(steps: Steps) -> Answer:
    return Answer(steps, {})


def _listing(body: object) -> Answer:
    return _plain(document(200, msgspec.json.encode(body)))


def _models() -> dict[str, object]:
    models = [
        {"id": alias, "object": "model", "created": 1735689600, "owned_by": OWNER}
        for alias in ALIASES
    ]
    return {"object": "list", "data": models}


def _refusal(error: InvalidRequest) -> Steps:
    message = f"{error}."
    if isinstance(error, UnknownModel):
        body = error_body(message, "invalid_request_error", "model_not_found", error.field)
        return document(404, body)
    return document(400, error_body(message, "invalid_request_error", None, error.field))


def serve(
    host: str,
    port: int,
    *,
    ready: Callable[[str], None],
    record_path: Path | None = None,
    requests_per_minute: int = 0,
    burst: int = 0,
    limit_headers: bool = True,
    record_limit: int = 20_000,
) -> None:
    """Run a simulator until SIGTERM or SIGINT; `ready` is told the base URL once it listens.

    Raises:
        OSError: the address is taken, or `record_path` cannot be written.
    """
    allow_many_sockets()
    simulator = Simulator(
        record_path=record_path,
        requests_per_minute=requests_per_minute,
        burst=burst,
        limit_headers=limit_headers,
        record_limit=record_limit,
    )
    uvloop.run(_serve_until_stopped(simulator, host, port, ready))


async def _serve_until_stopped(
    simulator: Simulator, host: str, port: int, ready: Callable[[str], None]
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    ready(await simulator.start(host, port))
    await stopped.wait()
    await simulator.aclose()
