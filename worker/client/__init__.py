"""The client of the HTTP gateway, for programs that have httpx and nothing else of this project.

    from worker.client import Client, Transcript

    with Client("http://127.0.0.1:8080") as client:
        job = client.submit({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]})
        transcript = Transcript()
        for event in client.follow(job["id"]):
            transcript.apply(event)
        print(transcript.text)

client, async_client   what programs use; they do the I/O and nothing else
target                 where requests go, who sends them, how long that is tried
calls                  the requests as values
exchange               a request and its answer, over as many tries as it takes
following              a job's events, over as many connections as it takes
patience               how long something is tried, and the waits between
answers, errors        answers that are errors, and what is raised
sse                    server-sent events out of bytes
jobs, events           the documents of the API, and the events of a job
transcript             the output as a reader holds it
"""

from worker.client.async_client import AsyncClient
from worker.client.client import Client
from worker.client.errors import (
    APIError,
    ClientError,
    Conflict,
    ConnectionFailed,
    Denied,
    InvalidCursor,
    InvalidRequest,
    JobFailed,
    NotFound,
    RateLimited,
    ServerFailed,
    Unauthorized,
)
from worker.client.events import (
    Cancelled,
    Completed,
    Delta,
    End,
    Event,
    Failed,
    Failure,
    Incomplete,
    Retrying,
    Started,
    ToolCall,
)
from worker.client.jobs import Job, JobError, JobFields, JobRequest, Token
from worker.client.transcript import Choice, Transcript

__all__ = [
    "APIError", "AsyncClient", "Cancelled", "Choice", "Client", "ClientError", "Completed",
    "Conflict", "ConnectionFailed", "Delta", "Denied", "End", "Event", "Failed", "Failure",
    "Incomplete", "InvalidCursor", "InvalidRequest", "Job", "JobError", "JobFailed", "JobFields",
    "JobRequest", "NotFound", "RateLimited", "Retrying", "ServerFailed", "Started", "Token",
    "ToolCall", "Transcript", "Unauthorized",
]  # fmt: skip
