"""The requests of the API as values: what is sent, and how the answer is read.

Each may be sent again when its answer does not come. What makes a job carries an idempotency key;
a second cancellation, or erasure, finds the work done; the others change nothing.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

from worker.client.jobs import Job, Token

T = TypeVar("T")
JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request; `read` makes the result of its answer's JSON."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)  # holds the prompt


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs of a listing, and how to get those after them."""

    jobs: Sequence[Job]
    next: Call["Page"] | None


def submit(request: Mapping[str, Any], fields: Mapping[str, Any]) -> Call[Job]:
    """A job request is accepted, or the job that it has become is found."""
    return Call(
        "POST", "/v1/jobs", _job, headers=JSON, content=_json(named({"request": request, **fields}))
    )


def submit_list(documents: Sequence[Mapping[str, Any]]) -> Call[Any]:
    """Job requests are accepted, or refused, each for itself; they come from `named`."""
    content = _json({"jobs": list(documents)})
    return Call("POST", "/v1/jobs", _data, headers=JSON, content=content)


def named(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The job request with an idempotency key, whether or not it came with one."""
    given = {name: value for name, value in document.items() if value is not None}
    return {"idempotency_key": _new_key(), **given}


def get(id: str) -> Call[Job]:
    """The job is shown."""
    return Call("GET", path_of(id), _job)


def listing(filters: Mapping[str, str]) -> Call[Page]:
    """A page of jobs, newest first."""

    def read(document: Any) -> Page:
        jobs = _data(document)
        more = bool(document["has_more"]) and bool(jobs)
        return Page(jobs, listing({**filters, "after": jobs[-1]["id"]}) if more else None)

    return Call("GET", "/v1/jobs", read, params=filters)


def filters(
    state: str | Sequence[str] | None,
    lane: str | None,
    metadata: Mapping[str, str] | None,
    after: str | None,
    page_size: int,
) -> dict[str, str]:
    """What a listing is narrowed to, as a query."""
    states = state if state is None or isinstance(state, str) else ",".join(state)
    given = {"state": states, "lane": lane, "after": after, "limit": str(page_size)}
    given |= {f"metadata[{name}]": value for name, value in (metadata or {}).items()}
    return {name: value for name, value in given.items() if value is not None}


def cancel(id: str) -> Call[Job]:
    """The job is cancelled unless it has ended."""
    return Call("POST", path_of(id, "/cancel"), _job)


def retry(id: str, idempotency_key: str | None) -> Call[Job]:
    """The request of an ended job becomes a new job."""
    headers = {"idempotency-key": idempotency_key or _new_key()}
    return Call("POST", path_of(id, "/retry"), _job, headers=headers)


def erase(id: str) -> Call[None]:
    """The content of an ended job is removed."""
    return Call("DELETE", path_of(id), lambda _: None)


def token(id: str, expires_in_s: float | None) -> Call[Token]:
    """A read token for the job's events."""
    document = {} if expires_in_s is None else {"expires_in_s": expires_in_s}
    return Call(
        "POST",
        path_of(id, "/token"),
        lambda token: cast(Token, token),
        headers=JSON,
        content=_json(document),
    )


def path_of(id: str, rest: str = "") -> str:
    """The path of a job; ids are whatever the caller says they are."""
    return f"/v1/jobs/{quote(id, safe='')}{rest}"


def _job(document: Any) -> Job:
    return cast(Job, document)


def _data(document: Any) -> list[Any]:
    found: list[Any] = document["data"]
    return found


def _new_key() -> str:
    return f"client_{secrets.token_hex(16)}"


def _json(document: object) -> bytes:
    # As ASCII: a lone surrogate has an escape, though no UTF-8; the gateway knows what to do.
    return json.dumps(document, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a job request cannot hold {type(value).__name__}; give JSON types")
