"""Made-up attempts: as channel events cut at will, as rows, and as a client hears them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hypothesis import strategies as st
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from models import Attempt, Job
from tests.jobs import attempt as record
from worker.channel.events import START, ChannelEvent, Completed, Delta, Retrying, Started, ToolCall
from worker.channel.replay import replay
from worker.gateway.responses.events import Events
from worker.openai.responses.document import beginning, response

JOB = "job_0123456789"
MOMENT = datetime(2030, 1, 31, tzinfo=UTC)


class Run(NamedTuple):
    """Characters of one part; of a tool call the first run has the opening before them."""

    part: str
    text: str


class Try(NamedTuple):
    """An attempt, and how readers learn that it came to nothing: `retrying`, or by the next."""

    runs: tuple[Run, ...]
    says_so: bool = True


PARTS = st.sampled_from(["text", "reasoning", "refusal", "tool_call:0", "tool_call:1"])
RUNS = st.lists(st.builds(Run, PARTS, st.text("ab\U0001f642", min_size=1, max_size=9)), max_size=6)
TRIES = st.lists(st.builds(Try, RUNS.map(tuple), st.booleans()), min_size=1, max_size=3)
CUTS = st.lists(st.integers(1, 4), min_size=1, max_size=9)


def lengths(tried: Try) -> list[tuple[int, str, int]]:
    """The runs as the attempt's row has them."""
    opened: set[str] = set()
    found: list[tuple[int, str, int]] = []
    for part, text in tried.runs:
        opening = part.startswith("tool") and part not in opened
        opened.add(part)
        length = len(text) + opening
        if found and found[-1][1] == part:
            length += found.pop()[2]
        found.append((0, part, length))
    return found


def deltas(number: int, tried: Try, cuts: Sequence[int]) -> Iterator[Delta]:
    """The attempt's output in pieces of these sizes, over and over."""
    at, opened, cut = 0, set(), 0
    for part, text in tried.runs:
        rest = text
        while rest:
            size = cuts[cut % len(cuts)]
            cut += 1
            said, rest = rest[:size], rest[size:]
            name, begin = None, at
            at += len(said)
            if not part.startswith("tool"):
                piece: dict[str, Any] = {part: said}
            else:
                index = int(part.partition(":")[2])
                if part not in opened:
                    opened.add(part)
                    name, at = f"tool_{index}", at + 1
                call_id = f"call_{index}" if name else None
                piece = {"tool_call": ToolCall(index, call_id, name, said)}
            yield Delta(id=f"{number}-{at}", job=JOB, at=begin, choice=0, **piece)


def published(tries: Sequence[Try], cuts: Sequence[int]) -> list[ChannelEvent]:
    """All that a log that was never rewritten holds; the last attempt completes."""
    events: list[ChannelEvent] = []
    for number, tried in enumerate(tries, 1):
        events.append(Started(id=f"{number}-0", job=JOB, upstream="sim", model="sim"))
        events += deltas(number, tried, cuts)
        length = sum(length for _, _, length in lengths(tried))
        if number == len(tries):
            events.append(Completed(id=f"{number}-{length + 1}", job=JOB, length=length))
        elif tried.says_so:
            events.append(Retrying(id=f"{number}-{length + 1}", job=JOB, reason="error"))
    return events


def row(tries: Sequence[Try]) -> Job:
    """The job in the end."""
    last = tries[-1]
    texts: dict[str, str] = {}
    for part, text in last.runs:
        texts[part] = texts.get(part, "") + text
    message: dict[str, object] = {"index": 0, "role": "assistant", "content": texts.get("text")}
    message |= {part: texts[part] for part in ("reasoning", "refusal") if part in texts}
    indexes = sorted(int(part[10:]) for part in texts if part.startswith("tool"))
    message["tool_calls"] = [_call(index, texts[f"tool_call:{index}"]) for index in indexes]
    return Job(
        id=JOB, model="sim", state="completed", attempt=len(tries), created_at=MOMENT,
        finished_at=MOMENT, output=[message], output_text=texts.get("text", ""),
        parts=lengths(last) or None, length=sum(run[2] for run in lengths(last)),
        finish_reason="stop", response_fields={},
    )  # fmt: skip


def _call(index: int, arguments: str) -> dict[str, object]:
    function = {"name": f"tool_{index}", "arguments": arguments}
    return {"id": f"call_{index}", "type": "function", "function": function}


def rows(tries: Sequence[Try]) -> list[Attempt]:
    """The rows of its attempts."""
    job = row(tries)
    found = []
    for number, tried in enumerate(tries, 1):
        job.attempt = number
        found.append(record(job, parts=lengths(tried)))
    return found


def heard(
    events: Sequence[ChannelEvent], job: Job, attempts: Sequence[Attempt] = (), after: int = -1
) -> list[dict[str, Any]]:
    """What a reader of the response is sent."""
    made = Events(job.id, beginning(job), after)
    told = made.begin()
    for event in events:
        if made.lacks(event):
            told += made.recall(attempts, event)
        told += made.end(event, response(job)) if isinstance(event, Completed) else made.take(event)
    return told


def replayed(tries: Sequence[Try], after: int = -1) -> list[dict[str, Any]]:
    """What a reader is sent days later."""
    job = row(tries)
    return heard(list(replay(job, START)), job, rows(tries), after)


def texts(told: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What each item's deltas come to."""
    found: dict[str, str] = {}
    for event in told:
        if event["type"].endswith(".delta"):
            key = f"{event['item_id']} {event['type']}"
            found[key] = found.get(key, "") + event["delta"]
    return found


def accumulated(told: Sequence[dict[str, Any]]) -> Any:
    """The response that OpenAI's own client makes of the events."""
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    for event in told:
        state.handle_event(construct_type(type_=ResponseStreamEvent, value=event))
    return state._completed_response
