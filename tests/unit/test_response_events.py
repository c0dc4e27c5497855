"""A response's events are a pure function of its output: the same however the log was cut, from
the database, and from any number on; and OpenAI's own client takes them.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.responses import (
    CUTS,
    TRIES,
    Run,
    Try,
    accumulated,
    heard,
    published,
    replayed,
    row,
    rows,
    texts,
)
from worker.openai.responses.document import output
from worker.openai.responses.numbers import job_id, response_id

Told = Sequence[dict[str, Any]]
# OpenAI's types take a while to be built at their first use.
SOME = settings(deadline=None, max_examples=40)


def numbers(told: Told) -> list[int]:
    return [event["sequence_number"] for event in told]


def but_deltas(told: Told) -> list[dict[str, Any]]:
    return [event for event in told if not event["type"].endswith(".delta")]


def rises(told: Told) -> bool:
    return numbers(told) == sorted(set(numbers(told)))


@SOME
@given(TRIES, CUTS, CUTS)
def test_another_cut_gives_other_deltas_and_no_other_numbers(
    tries: list[Try], one: list[int], other: list[int]
) -> None:
    job = row(tries)
    first = heard(published(tries, one), job)
    second = heard(published(tries, other), job)
    every = heard(published(tries, [1]), job)

    assert but_deltas(first) == but_deltas(second)
    assert set(numbers(first)) | set(numbers(second)) <= set(numbers(every))
    assert texts(first) == texts(second)
    assert rises(first) and rises(second)


@SOME
@given(TRIES, CUTS, CUTS, st.data())
def test_a_stream_goes_on_from_any_number_under_any_cut(
    tries: list[Try], one: list[int], other: list[int], data: st.DataObject
) -> None:
    job = row(tries)
    before = heard(published(tries, one), job)
    count = data.draw(st.integers(1, len(before)))
    after = before[count - 1]["sequence_number"]
    rest = heard(published(tries, other), job, after=after)

    joined = [*before[:count], *rest]
    assert rises(joined)
    assert texts(joined) == texts(before)
    assert but_deltas(joined) == but_deltas(before)


@SOME
@given(TRIES, CUTS)
def test_openais_client_accumulates_what_is_saved(tries: list[Try], cuts: list[int]) -> None:
    job = row(tries)
    found = accumulated(heard(published(tries, cuts), job))

    assert found.output_text == (job.output_text or "")
    assert [item.id for item in found.output] == [item["id"] for item in output(job)]
    assert accumulated(replayed(tries)).to_dict() == found.to_dict()


@SOME
@given(TRIES, CUTS)
def test_the_database_tells_the_same_but_the_text_of_what_came_to_nothing(
    tries: list[Try], cuts: list[int]
) -> None:
    def skeleton(told: Told) -> list[tuple[object, ...]]:
        kinds = ("response.output_item.added", "response.output_item.done")
        items = [event for event in told if event["type"] in kinds]
        return [
            (e["type"], e["sequence_number"], e["output_index"], e["item"]["id"]) for e in items
        ]

    live, later = heard(published(tries, cuts), row(tries)), replayed(tries)
    last = f"_{len(tries)}"
    assert skeleton(live) == skeleton(later)
    assert rises(later)
    assert live[-1] == later[-1]
    lasting = {key: text for key, text in texts(live).items() if last in key.split()[0][-4:]}
    assert texts(later) == lasting


@SOME
@given(TRIES, CUTS)
def test_a_log_that_was_rewritten_lacks_earlier_attempts_and_the_database_has_them(
    tries: list[Try], cuts: list[int]
) -> None:
    job, whole = row(tries), published(tries, cuts)
    kept = [event for event in whole if event.cursor.attempt == len(tries)]
    assert but_deltas(heard(kept, job, rows(tries))) == but_deltas(replayed(tries))


@SOME
@given(TRIES, CUTS, st.data())
def test_a_reader_that_comes_back_days_later_goes_on_where_it_was(
    tries: list[Try], cuts: list[int], data: st.DataObject
) -> None:
    live = heard(published(tries, cuts), row(tries))
    count = data.draw(st.integers(1, len(live)))
    last = [e for e in live if e["sequence_number"] >= len(tries) << 32]
    joined = live[:count] + replayed(tries, after=live[count - 1]["sequence_number"])

    assert rises(joined)
    assert [e for e in but_deltas(joined) if e["sequence_number"] >= len(tries) << 32] == (
        but_deltas(last)
    )


def test_the_order_is_openais() -> None:
    told = heard(
        published([Try((Run("text", "ab"), Run("tool_call:0", "{}")))], [9]), row([Try(())])
    )

    assert [
        (event["type"].removeprefix("response."), event["sequence_number"]) for event in told
    ] == [
        ("created", 0),
        ("queued", 1),
        ("in_progress", 2),
        ("output_item.added", (1 << 32) + 8),
        ("content_part.added", (1 << 32) + 9),
        ("output_text.delta", (1 << 32) + 2 * 64),
        ("output_item.added", (1 << 32) + 2 * 64 + 8),
        ("function_call_arguments.delta", (1 << 32) + 5 * 64),
        ("output_text.done", (1 << 32) + 5 * 64 + 32),
        ("content_part.done", (1 << 32) + 5 * 64 + 33),
        ("output_item.done", (1 << 32) + 5 * 64 + 34),
        ("function_call_arguments.done", (1 << 32) + 5 * 64 + 35),
        ("output_item.done", (1 << 32) + 5 * 64 + 36),
        ("completed", (1 << 32) + 6 * 64 + 63),
    ]


def test_an_abandoned_item_is_closed_and_left_out_of_the_output() -> None:
    tries = [Try((Run("text", "no"),), False), Try((Run("text", "yes"),))]
    told = heard(published(tries, [9]), row(tries))

    items = [(e["type"][-5:], e["output_index"], e["item"]["id"], e["item"]["status"])
             for e in told if "item" in e]  # fmt: skip
    assert items == [
        ("added", 0, "msg_0123456789_1", "in_progress"),
        (".done", 0, "msg_0123456789_1", "incomplete"),
        ("added", 1, "msg_0123456789_2", "in_progress"),
        (".done", 1, "msg_0123456789_2", "completed"),
    ]
    assert [item["id"] for item in told[-1]["response"]["output"]] == ["msg_0123456789_2"]


def test_more_items_than_numbers_between_two_offsets_still_rise() -> None:
    told = heard(
        published([Try(tuple(Run(f"tool_call:{n}", "x") for n in range(90)))], [9]),
        row([Try(())]),
    )
    assert rises(told)


@pytest.mark.parametrize("job", ["job_01994f0e7c1b", "job_"])
def test_a_responses_id_leads_back_to_its_job(job: str) -> None:
    assert job_id(response_id(job)) == job
    assert job_id(job) == ""
