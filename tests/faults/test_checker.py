"""The checker itself: silent about a clean record, and loud about each thing that can be wrong."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from models import Attempt, Job
from tests.faults import checker
from tests.faults.audit import Change
from tests.faults.checker import Check, violations
from tests.faults.evidence import Evidence, Expected, Shutdown
from tests.faults.figures import recoveries

TEXT = "hello world"
ID = "job_1"
Spoil = Callable[[Evidence], object]


def event(kind: str, id: str, **fields: object) -> bytes:
    return json.encode({"type": kind, "id": id, "job": ID, **fields})


def heard() -> list[bytes]:
    """A job that was rescued once and then said its text in two deltas."""
    return [
        event("started", "1-0", upstream="u", model="m"),
        event("delta", "1-3", at=0, choice=0, text="old"),
        event("retrying", "2-1", reason="lost"),
        event("started", "3-0", upstream="u", model="m"),
        event("delta", "3-5", at=0, choice=0, text="hello"),
        event("delta", "3-11", at=5, choice=0, text=" world"),
        event("completed", "3-12", length=11, finish_reason="stop"),
    ]


def served(attempt: int, text: str, started_s: float, ended_s: float) -> dict[str, Any]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    said = {"choice": 0, "channel": "content", "text": text, "sha256": digest}
    return {
        "job": ID, "attempt": attempt, "started_s": started_s, "ended_s": ended_s, "status": 200,
        "output": [said], "model": "sim?fault=limit-seconds&wait=2", "fault": "",
    }  # fmt: skip


def record(number: int, **fields: Any) -> Attempt:
    return Attempt(job_id=ID, number=number, usage={"total_tokens": 7}, **fields)


def clean() -> Evidence:
    """What a job leaves behind whose first worker was killed."""
    job = Job(
        id=ID, state="completed", attempt=3, failures=0, throttles=0, crashes=1,
        output_text=TEXT, length=11, usage={"total_tokens": 7},
    )  # fmt: skip
    return Evidence(
        expected={ID: Expected()},
        jobs={ID: job},
        changes=[
            Change(ID, None, "queued", None, 0, None, 1, 0.0),
            Change(ID, "queued", "in_progress", 0, 1, 1, 1, 1.0),
            Change(ID, "in_progress", "queued", 1, 2, 1, 0, 4.0),
            Change(ID, "queued", "in_progress", 2, 3, 1, 1, 5.0),
            Change(ID, "in_progress", "completed", 3, 3, 1, 1, 6.0),
        ],
        attempts=[record(3)],
        served=[served(1, "old", 1.0, 2.0), served(3, TEXT, 5.0, 6.0)],
        heard={ID: [heard()]},
        late={ID: heard()},
        logs={ID: heard()},
        keys={f"deltaworks:{{{ID}}}:log": 300_000, "_kombu.binding.bulk": -1},
        printed={"worker-1": "job job_1: completed at attempt 3"},
        left=b"nothing",
        secrets=["canary-secret"],
        overlap_s=2.5,
        shutdowns=[Shutdown(0, 1.0, 5.0)],
    )


def changed(evidence: Evidence, **fields: object) -> None:
    for name, value in fields.items():
        setattr(evidence.jobs[ID], name, value)


def more(evidence: Evidence, *changes: Change) -> None:
    evidence.changes = [*evidence.changes, *changes]


def also_served(evidence: Evidence, *requests: dict[str, Any]) -> None:
    evidence.served = [*evidence.served, *requests]


def reads(evidence: Evidence, kind: str, events: list[bytes]) -> None:
    setattr(evidence, kind, {ID: [events] if kind == "heard" else events})


def without(*places: int) -> list[bytes]:
    return [each for place, each in enumerate(heard()) if place not in places]


def other_text() -> list[bytes]:
    return [*heard()[:5], event("delta", "3-11", at=5, choice=0, text=" earth"), heard()[6]]


def refused_then_served(evidence: Evidence) -> None:
    refused = served(1, "", 1.0, 1.1) | {"status": 429, "fault": "limit-seconds"}
    evidence.served = [refused, served(3, TEXT, 2.0, 6.0)]


def key_for_ever(evidence: Evidence) -> None:
    evidence.keys = {f"deltaworks:{{{ID}}}:log": -1}


def tried_again_after(category: str, evidence: Evidence) -> None:
    evidence.attempts = [record(1, error_category=category), record(3)]


def too_many_failures(evidence: Evidence) -> None:
    tried_again_after("server", evidence)
    changed(evidence, failures=6)


SPOILT: list[tuple[str, Check, Spoil]] = [
    ("gone", checker.every_job_ends, lambda e: setattr(e, "jobs", {})),
    ("not ended", checker.every_job_ends, lambda e: changed(e, state="in_progress")),
    (
        "ended in another way",
        checker.every_job_ends,
        lambda e: changed(e, state="failed", error_category="poison"),
    ),
    ("never ended", checker.every_job_ends_once, lambda e: setattr(e, "changes", e.changes[:-1])),
    (
        "ended twice",
        checker.every_job_ends_once,
        lambda e: more(e, Change(ID, "in_progress", "failed", 3, 3, 1, 1, 7.0)),
    ),
    (
        "left its end",
        checker.every_job_ends_once,
        lambda e: more(e, Change(ID, "completed", "queued", 3, 4, 1, 1, 7.0)),
    ),
    (
        "a lowered fence",
        checker.the_fence_only_rises,
        lambda e: more(e, Change(ID, "in_progress", "in_progress", 3, 2, 1, 1, 7.0)),
    ),
    (
        "a claim under the old fence",
        checker.the_fence_only_rises,
        lambda e: more(e, Change(ID, "queued", "in_progress", 3, 3, 1, 1, 7.0)),
    ),
    (
        "cancelled under the holder's fence",
        checker.the_fence_only_rises,
        lambda e: more(e, Change(ID, "in_progress", "cancelled", 3, 3, 1, 1, 7.0)),
    ),
    (
        "another text saved",
        checker.saved_text_is_what_was_served,
        lambda e: changed(e, output_text="hello earth"),
    ),
    (
        "the text of another attempt",
        checker.saved_text_is_what_was_served,
        lambda e: setattr(e, "served", [served(3, "old", 5.0, 6.0)]),
    ),
    (
        "a text that nobody served",
        checker.saved_text_is_what_was_served,
        lambda e: setattr(e, "served", e.served[:1]),
    ),
    *(
        (
            f"another text, {kind}",
            checker.every_reader_holds_what_is_saved,
            partial(reads, kind=kind, events=other_text()),
        )
        for kind in ("heard", "late", "logs")
    ),
    *(
        (
            f"a hole, {kind}",
            checker.readers_hear_in_order,
            partial(reads, kind=kind, events=without(4)),
        )
        for kind in ("heard", "late", "logs")
    ),
    (
        "a log without its tail, though nothing was torn",
        checker.readers_hear_in_order,
        partial(reads, kind="logs", events=without(5)),
    ),
    (
        "an event twice",
        checker.readers_hear_in_order,
        lambda e: reads(e, "heard", [*heard()[:5], heard()[4], *heard()[5:]]),
    ),
    (
        "no end for a reader",
        checker.readers_hear_in_order,
        lambda e: reads(e, "heard", without(6)),
    ),
    ("a reader that heard nothing", checker.readers_hear_in_order, lambda e: reads(e, "late", [])),
    (
        "another end than saved",
        checker.readers_hear_in_order,
        lambda e: reads(
            e, "late", [*without(6), event("incomplete", "3-12", length=11, finish_reason="length")]
        ),
    ),
    (
        "two requests in one attempt",
        checker.upstreams_are_not_asked_too_often,
        lambda e: also_served(e, served(3, TEXT, 6.0, 6.5)),
    ),
    (
        "more requests than claims",
        checker.upstreams_are_not_asked_too_often,
        lambda e: also_served(e, served(2, TEXT, 6.0, 6.5)),
    ),
    (
        "two streams at once",
        checker.upstreams_are_not_asked_too_often,
        lambda e: setattr(e, "served", [served(1, "o", 1.0, 9.0), served(3, TEXT, 5.0, 9.0)]),
    ),
    (
        "two endless streams at once",
        checker.upstreams_are_not_asked_too_often,
        lambda e: setattr(
            e,
            "served",
            [served(1, "o", 1.0, 1.0) | {"ended_s": None}, served(3, TEXT, 2.0, 9.0)],
        ),
    ),
    (
        "not the expected number of requests",
        checker.upstreams_are_not_asked_too_often,
        lambda e: setattr(e, "expected", {ID: Expected(requests=1)}),
    ),
    (
        "a request for nobody's job",
        checker.upstreams_are_not_asked_too_often,
        lambda e: also_served(e, served(1, "x", 1.0, 2.0) | {"job": "job_2"}),
    ),
    ("no record", checker.usage_is_booked_once, lambda e: setattr(e, "attempts", [])),
    (
        "another usage",
        checker.usage_is_booked_once,
        lambda e: changed(e, usage={"total_tokens": 8}),
    ),
    ("a log for ever", checker.nothing_stays_in_redis, key_for_ever),
    (
        "a set for ever",
        checker.nothing_stays_in_redis,
        lambda e: setattr(e, "keys", {"deltaworks:open": -1}),
    ),
    (
        "a printed secret",
        checker.secrets_stay_secret,
        lambda e: setattr(e, "printed", {"worker-1": "say canary-secret"}),
    ),
    (
        "a secret in Redis",
        checker.secrets_stay_secret,
        lambda e: setattr(e, "left", b"canary-secret"),
    ),
    (
        "tried again what cannot work",
        checker.retries_follow_the_policy,
        partial(tried_again_after, "content_filter"),
    ),
    (
        "more failures than the budget",
        checker.retries_follow_the_policy,
        too_many_failures,
    ),
    ("came again too early", checker.retries_follow_the_policy, refused_then_served),
    (
        "a bad exit",
        checker.processes_end_in_time,
        lambda e: setattr(e, "shutdowns", [Shutdown(1, 1.0, 5.0)]),
    ),
    (
        "a late exit",
        checker.processes_end_in_time,
        lambda e: setattr(e, "shutdowns", [Shutdown(0, 60.0, 5.0)]),
    ),
]


def test_a_clean_record_passes() -> None:
    assert violations(clean()) == []


@pytest.mark.parametrize(
    ("check", "spoil"), [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT]
)
def test_what_is_wrong_is_told(check: Check, spoil: Spoil) -> None:
    evidence = clean()
    spoil(evidence)

    assert [found for found in violations(evidence) if found.startswith(check.__name__)]


def test_every_invariant_was_seen_to_fail() -> None:
    assert {check for _, check, _ in SPOILT} == set(checker.CHECKS)


def test_an_expected_failure_passes_and_its_text_is_not_compared() -> None:
    evidence = clean()
    changed(evidence, state="failed", error_category="server")
    ended = event("failed", "3-12", length=11)
    for kind in ("heard", "late", "logs"):
        reads(evidence, kind, [*without(6), ended])
    last = evidence.changes[-1]._replace(new_state="failed")
    evidence = replace(
        evidence,
        expected={ID: Expected(frozenset({"failed"}), frozenset({"server"}), requests=2)},
        changes=[*evidence.changes[:-1], last],
    )

    assert violations(evidence) == []


@pytest.mark.parametrize("lost", [[5], [3, 4, 5]])
def test_a_log_may_lack_the_tail_that_died_with_its_worker_and_nothing_else(
    lost: list[int],
) -> None:
    evidence = replace(clean(), torn=True)
    reads(evidence, "logs", [each for n, each in enumerate(heard()) if n not in lost])
    assert violations(evidence) == []
    reads(evidence, "logs", without(4))
    assert violations(evidence) != []


def test_recovery_is_measured_from_the_last_kill_before_the_rescue() -> None:
    assert recoveries(clean().changes, [0.5, 1.5, 4.5], []) == [3.5]
    assert recoveries(clean().changes, [], [2.0]) == [4.0]
    assert recoveries(clean().changes[:2], [1.5], [2.0]) == []
