"""Following goes on over any number of connections, and stops where going on cannot help."""

import json
from collections.abc import Sequence

import httpx
import pytest

from tests.clients import Clock
from worker.client import (
    APIError,
    ClientError,
    Completed,
    ConnectionFailed,
    Delta,
    Event,
    InvalidCursor,
    NotFound,
    ServerFailed,
)
from worker.client.following import Following
from worker.client.patience import Patience

JOB = "job_0123456789abcdef"
HINT = b"retry: 1000\n\n"


def frame(type: str, id: str, **fields: object) -> bytes:
    document = {"type": type, "id": id, "job": JOB, **fields}
    return f"id: {id}\nevent: {type}\ndata: {json.dumps(document)}\n\n".encode()


def delta(id: str, at: int, text: str) -> bytes:
    return frame("delta", id, at=at, choice=0, text=text)


def complaint(code: str, type: str) -> bytes:
    error = {"message": code, "type": type, "param": None, "code": code}
    return b"event: error\ndata: " + json.dumps({"error": error}).encode() + b"\n\n"


STARTED = frame("started", "1-0", upstream="u", model="m")
END = frame("completed", "1-6", length=5)


def following(after: str | None = None, clock: Clock | None = None) -> Following:
    return Following(JOB, after, Patience(60, clock=clock or Clock()))


def stream() -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream; charset=utf-8"})


def no_answer() -> httpx.RequestError:
    return httpx.ConnectError("", request=httpx.Request("GET", "http://gateway.example"))


def heard(following: Following, *pieces: bytes) -> Sequence[Event]:
    """What one connection with these bytes yields."""
    following.headers()
    assert following.opened(stream())
    return [event for piece in pieces for event in following.hear(piece)]


def test_a_new_connection_begins_after_the_last_event_and_repeats_nothing() -> None:
    reading = following()
    assert reading.pause_s() == 0 and "last-event-id" not in reading.headers()
    first = heard(reading, HINT + STARTED + delta("1-2", 0, "He"), delta("1-5", 2, "llo")[:30])
    assert [event.id for event in first] == ["1-0", "1-2"]
    assert reading.headers()["last-event-id"] == "1-2"
    second = heard(reading, STARTED + delta("1-2", 0, "He") + delta("1-5", 2, "llo"), END)
    assert [event.id for event in second] == ["1-5", "1-6"]
    assert isinstance(second[-1], Completed) and reading.over and reading.pause_s() is None


def test_it_is_decoded_the_same_at_every_split() -> None:
    whole = HINT + STARTED + delta("1-5", 0, "Hü𝄞lo") + b": still here\n\n" + END
    wanted = heard(following(), whole)
    assert len(wanted) == 3
    for at in range(len(whole)):
        assert heard(following(), whole[:at], whole[at:]) == wanted


def test_after_a_cut_it_waits_about_as_long_as_the_server_hinted() -> None:
    reading = following()
    heard(reading, b"retry: 3000\n\n" + STARTED)
    assert 1.5 <= (reading.pause_s() or 0) <= 3
    heard(reading, b"retry: 0\n\n")
    assert 0.05 <= (reading.pause_s() or 0) <= 0.1


def test_streams_that_break_are_no_failures_and_connections_that_do_not_open_are() -> None:
    clock = Clock()
    reading = following(clock=clock)
    for _ in range(10):
        clock.now += 50
        heard(reading, HINT)
        reading.lost(no_answer())
        assert 0 < (reading.pause_s() or 0) <= 1
    heard(reading, STARTED + delta("1-2", 0, "He"))
    for _ in range(2):
        reading.pause_s()
        reading.headers()
        reading.lost(no_answer())
        clock.now += 31
    with pytest.raises(ConnectionFailed) as failure:
        reading.pause_s()
    assert failure.value.cursor == "1-2"


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_gateway_that_cannot_now_is_asked_again(status: int) -> None:
    clock = Clock()
    reading = following("3-7", clock)
    reading.headers()
    assert not reading.opened(httpx.Response(status, json={}))
    assert (reading.pause_s() or 0) > 0
    clock.now += 61
    with pytest.raises(APIError) as failure:
        reading.pause_s()
    assert (failure.value.status, failure.value.cursor) == (status, "3-7")


def test_a_server_that_ends_is_left_for_the_next_one() -> None:
    reading = following()
    events = heard(reading, HINT + STARTED + complaint("server_ends", "server_error"))
    assert [event.id for event in events] == ["1-0"] and not reading.over
    assert (reading.pause_s() or 0) > 0
    assert heard(reading, END)[-1].id == "1-6"


def test_streams_that_only_complain_do_not_renew_patience() -> None:
    clock = Clock()
    reading = following(clock=clock)
    for _ in range(2):
        heard(reading, HINT + complaint("store_away", "server_error"))
        assert (reading.pause_s() or 0) > 0
        clock.now += 31
    with pytest.raises(ServerFailed, match="store_away"):
        reading.pause_s()


def test_an_error_that_lasts_is_raised_after_what_came_before_it() -> None:
    reading = following()
    reading.headers()
    assert reading.opened(stream())
    hearing = reading.hear(STARTED + complaint("not_found", "invalid_request_error"))
    assert next(hearing).id == "1-0"
    with pytest.raises(NotFound) as failure:
        next(hearing)
    assert failure.value.cursor == "1-0"
    for status, code, kind in ((400, "invalid_cursor", InvalidCursor), (404, None, NotFound)):
        error = {"message": "no", "code": code}
        with pytest.raises(kind):
            following("1-9").opened(httpx.Response(status, json={"error": error}))


def test_a_cursor_that_the_gateway_gave_is_tried_again_while_its_log_is_rebuilt() -> None:
    clock = Clock()
    reading = following(clock=clock)
    heard(reading, STARTED + delta("1-2", 0, "He"))
    error = {"message": "no", "code": "invalid_cursor"}
    reading.headers()
    assert not reading.opened(httpx.Response(400, json={"error": error}))
    assert (reading.pause_s() or 0) > 0
    clock.now += 61
    with pytest.raises(InvalidCursor):
        reading.pause_s()


def test_the_end_is_where_the_cursor_was() -> None:
    reading = following("1-6")
    assert reading.headers()["last-event-id"] == "1-6"
    assert not reading.opened(httpx.Response(204))
    assert reading.pause_s() is None


def test_what_is_no_stream_of_a_gateway_is_an_error() -> None:
    with pytest.raises(APIError, match="no event stream"):
        following().opened(httpx.Response(200, text="<html>"))
    for data in ("[]", "3", "{", '{"type":"delta","id":"1-1"}', '{"type":"new","id":"x"}'):
        with pytest.raises(ClientError, match="no event of this API"):
            heard(following(), f"data: {data}\n\n".encode())
    with pytest.raises(APIError, match="without words"):
        heard(following(), b"event: error\ndata: oops\n\n")


def test_an_event_of_a_later_version_is_passed_over_and_counts_as_heard() -> None:
    reading = following()
    events = heard(reading, STARTED + frame("paused", "1-1") + delta("1-2", 0, "He"))
    assert [type(event) for event in events][1:] == [Delta]
    assert heard(reading, frame("paused", "1-3")) == [] and reading.cursor == "1-3"


@pytest.mark.parametrize(
    "cursor", ["", "1", "1-", "-1", "1-2-3", "\u0661-\u0662", "1-0\nx: y", "a" * 100]
)
def test_what_is_no_cursor_is_refused_before_anything_is_sent(cursor: str) -> None:
    with pytest.raises(InvalidCursor, match="after: "):
        following(cursor)
