"""A job that has ended, told again from its row: from every cursor the rest of the same text."""

from random import Random

import pytest

from models import Job, JobState
from tests.reader import Reader
from tests.streams import chunk, flow, rich_chunks, tool_call
from worker.channel.events import START, Cursor, Started, encode
from worker.channel.replay import deltas, end_of, replay
from worker.errors import InvalidCursor
from worker.stream.transcript import Transcript
from worker.stream.wire import Chunk


def row(*chunks: Chunk, attempt: int = 1, state: JobState = JobState.COMPLETED) -> Job:
    """The row of a job whose last attempt received these chunks."""
    transcript = Transcript()
    for each in chunks:
        transcript.apply(each)
    transcript.close()
    parts = transcript.parts()
    return Job(
        id="job_0123456789abcdef",
        attempt=attempt,
        state=state.value,
        model="sim",
        upstream="simulator",
        output_text=transcript.output_text,
        output=transcript.output(),
        parts=parts if any(part[:2] != (0, "text") for part in parts) else None,
        length=transcript.length,
        finish_reason="stop",
    )


def heard(job: Job, cursor: Cursor) -> Reader:
    reader = Reader(*cursor)
    for event in replay(job, cursor):
        reader.hear(encode(event))
    return reader


@pytest.mark.parametrize("seed", range(12))
def test_from_every_cursor_the_rest_of_the_saved_output_is_told(seed: int) -> None:
    job = row(*rich_chunks(Random(seed)), attempt=3)
    whole = flow(job)
    assert len(whole) == job.length
    for offset in range(job.length + 1):
        reader = heard(job, Cursor(3, offset))
        assert reader.flow == whole[offset:]
        assert reader.types[-1] == "completed"
        assert reader.cursor == (3, job.length + 1)


@pytest.mark.parametrize("cursor", [START, Cursor(1, 0), Cursor(2, 5), Cursor(2, 10**9)])
def test_a_cursor_of_an_earlier_attempt_hears_everything_after_a_new_start(cursor: Cursor) -> None:
    job = row(*rich_chunks(Random(5)), attempt=3)
    reader = heard(job, cursor)
    assert reader.flow == flow(job)
    assert reader.types[0] == "started"
    first = next(replay(job, cursor))
    assert isinstance(first, Started)
    assert (first.upstream, first.model) == ("simulator", "sim")


def test_the_closing_cursor_hears_nothing_and_one_beyond_is_invalid() -> None:
    job = row(chunk(content="text"))
    assert list(replay(job, Cursor(1, 5))) == []
    for beyond in (Cursor(1, 6), Cursor(2, 0)):
        with pytest.raises(InvalidCursor, match=f"{beyond} lies beyond the end of the job, 1-5"):
            list(replay(job, beyond))


def test_tool_calls_that_come_in_any_order_keep_their_arguments() -> None:
    job = row(
        tool_call(1, '{"b":', "second"), tool_call(0, '{"a":', "first"), tool_call(1, "2}"),
        tool_call(0, "1}"),
    )  # fmt: skip
    reader = heard(job, START)
    assert reader.parts == {(0, "0"): '{"a":1}', (0, "1"): '{"b":2}'}
    assert reader.names == {(0, "0"): "first", (0, "1"): "second"}


def test_a_tool_call_whose_index_is_not_its_place_keeps_its_arguments() -> None:
    job = row(tool_call(4, "four", "f"), tool_call(2, "two", "g"), chunk(content="x"))
    assert heard(job, START).parts == {(0, "4"): "four", (0, "2"): "two", (0, "text"): "x"}


def test_a_tool_call_named_late_keeps_its_arguments() -> None:
    job = row(tool_call(0, "aa"), tool_call(1, "bb", "g"), tool_call(0, "cc", "f"))
    assert heard(job, START).parts == {(0, "0"): "aacc", (0, "1"): "bb"}


def test_an_unnamed_tool_call_is_opened_without_a_name() -> None:
    reader = heard(row(tool_call(0, "args")), START)
    assert (reader.names, reader.parts) == ({(0, "0"): ""}, {(0, "0"): "args"})


def test_plain_text_needs_no_parts() -> None:
    job = row(chunk(content="plain"), chunk(0, "stop"))
    assert job.parts is None
    (delta,) = deltas(job)
    assert (delta.at, delta.text, delta.id) == (0, "plain", "1-5")


def test_text_in_another_choice_than_the_first_is_found() -> None:
    job = row(chunk(1, content="one"), chunk(0, content="zero"))
    assert heard(job, START).parts == {(1, "text"): "one", (0, "text"): "zero"}


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.FAILED])
def test_an_end_without_output_is_all_that_is_told(state: JobState) -> None:
    job = row(attempt=2, state=state)
    job.error_category, job.error_code = "deadline", None
    reader = heard(job, Cursor(1, 7))
    assert (reader.types, reader.flow) == ([state.value], "")
    assert reader.end is not None
    assert reader.end["error"]["category"] == "deadline"


def test_an_end_bears_what_no_character_came_for() -> None:
    end = end_of(row(chunk(content="x")), {0: {"logprobs": None}})
    assert b'"extra":{"0":{"logprobs":null}}' in encode(end)
