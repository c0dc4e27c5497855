"""A job's events as chat completion chunks, one attempt's text and never two.

A chat client cannot take text back. So the first attempt that has shown any is the only one it
sees: when that attempt is given up, the stream ends with an error that says where the job goes on.
"""

from collections.abc import Iterator, Sequence

from models import Job
from worker.channel.events import ChannelEvent, Cursor, Delta, End, Retrying, ToolCall
from worker.gateway.refusals import Refusal
from worker.gateway.sse import frame, json_frame
from worker.openai.completion import LOGPROBS, completion_id, finish_reasons

DONE = frame(b"[DONE]")


class Chunks:
    """Makes the frames of one client.

    Attributes:
        shown: whether any text was made into frames.
    """

    def __init__(self, job: Job, *, hold: bool, usage: bool) -> None:
        """Frames of the job.

        Args:
            job: its row.
            hold: whether text is shown only when its attempt has ended.
            usage: whether the client asked for the usage in the end.
        """
        self._job = job
        self._hold = hold
        self._usage = usage
        self._head = {
            "id": completion_id(job.id),
            "object": "chat.completion.chunk",
            "created": int(job.created_at.timestamp()),
            "model": job.model,
        }
        self._held: list[Delta] = []
        self._begun: set[int] = set()
        self._attempt = 0
        self.shown = False

    def frames(self, events: Sequence[ChannelEvent]) -> Iterator[bytes]:
        """What these events, in order, mean to the client; the end is `ending`'s.

        Raises:
            Refusal: the attempt whose text was shown is given up.
        """
        for event in events:
            self._check(event)
            if isinstance(event, Delta):
                if self._hold:
                    self._held.append(event)
                else:
                    yield self._chunk(event)

    def ending(self, job: Job, end: End) -> Iterator[bytes]:
        """The last frames of a job that completed, or is incomplete."""
        for delta in self._held:
            yield self._chunk(delta)
        for choice, reason in finish_reasons(job).items():
            extra = (end.extra or {}).get(choice, {})
            if choice not in self._begun:
                extra = {**extra, "role": "assistant", "content": ""}
            yield self._frame(choice, extra, reason)
        if self._usage and job.usage is not None:
            yield json_frame({**self._head, "choices": [], "usage": job.usage})
        yield DONE

    def _check(self, event: ChannelEvent) -> None:
        attempt = event.cursor.attempt
        given_up = isinstance(event, Retrying) or attempt > self._attempt
        if given_up and self.shown:
            raise _moved_on(self._job.id, self._attempt, event)
        if given_up:
            self._held.clear()
        self._attempt = attempt

    def _chunk(self, delta: Delta) -> bytes:
        self.shown = True
        said: dict[str, object] = {}
        if delta.choice not in self._begun:
            self._begun.add(delta.choice)
            said["role"] = "assistant"
        if delta.text is not None:
            said["content"] = delta.text
        elif delta.reasoning is not None:
            said["reasoning_content"] = delta.reasoning
        elif delta.refusal is not None:
            said["refusal"] = delta.refusal
        elif delta.tool_call is not None:
            said["tool_calls"] = [_call(delta.tool_call)]
        return self._frame(delta.choice, {**said, **(delta.extra or {})}, None)

    def _frame(self, choice: int, said: dict[str, object], reason: str | None) -> bytes:
        logprobs = said.pop(LOGPROBS, None)
        choices = [{"index": choice, "delta": said, "logprobs": logprobs, "finish_reason": reason}]
        document: dict[str, object] = {**self._head, "choices": choices}
        # OpenAI's promise: with the usage to come, every other chunk says that it has none.
        return json_frame({**document, "usage": None} if self._usage else document)


def _call(call: ToolCall) -> dict[str, object]:
    if call.name is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


def _moved_on(job: str, attempt: int, event: ChannelEvent) -> Refusal:
    why = ""
    if isinstance(event, Retrying):
        why = f" ({event.category}/{event.code})" if event.category else f" ({event.reason})"
    address = f"/v1/jobs/{job}/events?after={Cursor(attempt, 0)}"
    refusal = Refusal(
        502,
        f"attempt {attempt} was given up{why} after text of it was shown; job {job} goes on at "
        f"{address}; send x-deltaworks-hold: true to be shown only text that stands",
        type="server_error",
        code="attempt_given_up",
    )
    refusal.error |= {"job": job, "resume": address}
    return refusal
