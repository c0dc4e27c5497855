"""The invariants that hold whatever broke: one function for each, and what it finds amiss.

It knows nothing of what was done to the system, and asks none of its code: it reads what is left
behind. Numbers I1 to I15 are the fault catalogue's; those of webhooks and tenants are not here.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any

from models import TERMINAL, Attempt, Job
from tests.faults.evidence import Evidence
from tests.reader import Reader
from worker.errors import Category, UpstreamError
from worker.policy import Policy
from worker.text import repair

Check = Callable[[Evidence], Iterator[str]]

# What a shutdown may take beyond its grace: writing out, and leaving the interpreter.
EXIT_S = 10.0
# Of one machine's clocks and a busy scheduler.
SLACK_S = 1.0


def every_job_ends(evidence: Evidence) -> Iterator[str]:
    """I1: each accepted job is there and has ended, as was expected of it."""
    for id, expected in evidence.expected.items():
        job = evidence.jobs.get(id)
        if job is None:
            yield f"{id} was accepted and is gone"
        elif job.state not in TERMINAL:
            yield f"{id} has not ended: {job.state} at attempt {job.attempt}"
        elif job.state not in expected.states:
            yield f"{id} is {job.state}, not {set(expected.states)}: {job.error_category}"
        elif job.error_category is not None and job.error_category not in expected.categories:
            yield f"{id} failed for {job.error_category}, not {set(expected.categories)}"


def every_job_ends_once(evidence: Evidence) -> Iterator[str]:
    """I2: one change into a terminal state, none out of it."""
    ends = Counter(
        change.job
        for change in evidence.changes
        if change.new_state in TERMINAL and change.old_state != change.new_state
    )
    for id in evidence.expected:
        if ends[id] != 1:
            yield f"{id} ended {ends[id]} times"
    for change in evidence.changes:
        if change.old_state in TERMINAL:
            yield f"{change.job} was changed after its end: {change}"


def the_fence_only_rises(evidence: Evidence) -> Iterator[str]:
    """I3: no attempt is lowered, and whoever takes hold of a job, or takes it back, raises it."""
    for change in evidence.changes:
        if change.old_attempt is None:
            continue
        if change.new_attempt < change.old_attempt:
            yield f"{change.job} fell from attempt {change.old_attempt} to {change.new_attempt}"
        if change.is_claim and change.new_attempt == change.old_attempt:
            yield f"{change.job} was claimed without a new attempt: {change}"
        cancelled = change.new_state == "cancelled" and change.old_state != "cancelled"
        if cancelled and change.new_attempt == change.old_attempt:
            yield f"{change.job} was cancelled without a new attempt: {change}"


def saved_text_is_what_was_served(evidence: Evidence) -> Iterator[str]:
    """I4: the text of a proven end is what the upstream served under the final attempt."""
    served = {(each["job"], each["attempt"]): each for each in evidence.served}
    for id, job in evidence.jobs.items():
        if job.state not in {"completed", "incomplete"}:
            continue
        truth = served.get((id, job.attempt))
        if truth is None:
            yield f"{id} is {job.state} at attempt {job.attempt}, which asked nobody"
        elif not _is_served(job, truth):
            yield f"{id}: the saved text is not what was served under attempt {job.attempt}"


def every_reader_holds_what_is_saved(evidence: Evidence) -> Iterator[str]:
    """I4, I6: live, late, or from the log, the text is the same, and so is its length."""
    for id, job in evidence.jobs.items():
        for kind, events in _readings(evidence, id):
            reader, complaint = _read(events)
            if complaint is not None or reader.end is None:
                continue  # told by `readers_hear_in_order`
            text = reader.parts.get((0, "text"), "")
            if text != (job.output_text or "") or len(reader.flow) != (job.length or 0):
                yield f"{id}: a {kind} reader holds {len(reader.flow)} characters of {job.length}"


def readers_hear_in_order(evidence: Evidence) -> Iterator[str]:
    """I5, I13: ids rise without a hole, void text is voided, and every reader hears the end."""
    for id, job in evidence.jobs.items():
        for kind, events in _readings(evidence, id):
            reader, complaint = _read(events)
            if complaint is not None:
                yield f"{id}: a {kind} reader: {complaint}"
                continue
            if kind != "log" and reader.end is None:
                yield f"{id}: a {kind} reader was never told of the end"
            elif reader.end and reader.end["type"] != job.state:
                yield f"{id}: a {kind} reader was told {reader.end['type']}, saved is {job.state}"


def upstreams_are_not_asked_too_often(evidence: Evidence) -> Iterator[str]:
    """I7: one request an attempt, as many attempts as were claimed or charged, hardly two at once.

    An attempt under which a worker died before its request was sent, asks nobody.
    """
    claims = Counter(change.job for change in evidence.changes if change.is_claim)
    for id, served in evidence.served_by_job().items():
        job, expected = evidence.jobs.get(id), evidence.expected.get(id)
        if job is None or expected is None:
            yield f"{id} was sent to the upstream and is nobody's"
            continue
        for attempt, count in Counter(each["attempt"] for each in served).items():
            if count > 1:
                yield f"{id}: attempt {attempt} sent {count} requests for {served[0]['model']}"
        most = claims[id] + (job.failures or 0) + (job.throttles or 0)
        if len(served) > most:
            yield f"{id}: {len(served)} requests, claimed and charged {most} times"
        if expected.requests is not None and len(served) != expected.requests:
            yield f"{id}: {len(served)} requests, not {expected.requests}"
        yield from _overlaps(id, served, evidence.overlap_s)


def usage_is_booked_once(evidence: Evidence) -> Iterator[str]:
    """I8: the record of the final attempt is there, once, with the usage that the job has."""
    rows: defaultdict[str, list[Attempt]] = defaultdict(list)
    for row in evidence.attempts:
        rows[row.job_id].append(row)
    for id, job in evidence.jobs.items():
        if job.state not in {"completed", "incomplete"}:
            continue
        final = [row for row in rows[id] if row.number == job.attempt]
        if len(final) != 1:
            yield f"{id}: {len(final)} records of its final attempt"
        elif final[0].usage != job.usage:
            yield f"{id}: its usage is not its final attempt's"


def nothing_stays_in_redis(evidence: Evidence) -> Iterator[str]:
    """I12: every key of ours has a life or belongs to a job that has not ended."""
    for key, life_ms in evidence.keys.items():
        # What Redis answers for a key without a life is -1; -2 is one that has just gone.
        if not key.startswith("deltaworks:") or life_ms != -1:
            continue
        id = key.partition("{")[2].partition("}")[0]
        job = evidence.jobs.get(id)
        if job is None or job.state in TERMINAL:
            yield f"{key} stays for ever"


def secrets_stay_secret(evidence: Evidence) -> Iterator[str]:
    """I11: neither prompts nor keys are in a log, the channel or the broker."""
    for secret in evidence.secrets:
        for name, printed in evidence.printed.items():
            if secret in printed:
                yield f"{name} printed a secret: {secret[:16]}"
        if secret.encode() in evidence.left:
            yield f"Redis holds a secret: {secret[:16]}"


def retries_follow_the_policy(evidence: Evidence) -> Iterator[str]:
    """I14: what the policy fails is not tried again, budgets hold, named waits are waited."""
    table = Policy.packaged()
    rows: defaultdict[str, list[Attempt]] = defaultdict(list)
    for row in sorted(evidence.attempts, key=lambda row: row.number):
        rows[row.job_id].append(row)
    for id, attempts in rows.items():
        job = evidence.jobs.get(id, Job())
        rules = [
            table.row_for(UpstreamError(Category(row.error_category), row.error_code))
            for row in attempts[:-1]
            if row.error_category is not None
        ]
        for rule in rules:
            if rule.action == "fail":
                yield f"{id} was tried again after {rule.category}"
        most = max((rule.most for rule in rules), default=0)
        if (job.failures or 0) > most:
            yield f"{id} was charged {job.failures} failures, at most {most}"
    yield from _hurried(evidence)


def processes_end_in_time(evidence: Evidence) -> Iterator[str]:
    """I15: who is told to end does so within the grace, in good order."""
    for shutdown in evidence.shutdowns:
        if shutdown.code != 0:
            yield f"a process ended with {shutdown.code}"
        if shutdown.took_s > shutdown.grace_s + EXIT_S:
            yield f"a process took {shutdown.took_s:.1f} s to end, its grace is {shutdown.grace_s}"


CHECKS: tuple[Check, ...] = (
    every_job_ends,
    every_job_ends_once,
    the_fence_only_rises,
    saved_text_is_what_was_served,
    every_reader_holds_what_is_saved,
    readers_hear_in_order,
    upstreams_are_not_asked_too_often,
    usage_is_booked_once,
    nothing_stays_in_redis,
    secrets_stay_secret,
    retries_follow_the_policy,
    processes_end_in_time,
)


def violations(evidence: Evidence) -> list[str]:
    """What is amiss, each with the name of the invariant; empty where all hold."""
    return [f"{check.__name__}: {found}" for check in CHECKS for found in check(evidence)]


def _readings(evidence: Evidence, id: str) -> Iterator[tuple[str, Sequence[bytes]]]:
    for events in evidence.heard.get(id, ()):
        yield "live", events
    if id in evidence.late:
        yield "late", evidence.late[id]
    if id in evidence.logs and not (evidence.torn and _lacks_its_tail(evidence.logs[id])):
        yield "log", evidence.logs[id]


def _lacks_its_tail(log: Sequence[bytes]) -> bool:
    """Whether the log tells of the end of an attempt, but not of all that it said: the rest was
    lost with Redis, or with the worker, which had committed it and had yet to publish it, and the
    sweep announced the end. Who reads that finds characters missing, and asks the database, as the
    late readers do.
    """
    events = [json.loads(event) for event in log]
    end = events[-1]
    attempt = end["id"].split("-")[0]
    said = [event["id"].split("-") for event in events if event["type"] == "delta"]
    last = max((int(offset) for of, offset in said if of == attempt), default=0)
    return last < int(end.get("length", 0))


def _read(events: Sequence[bytes]) -> tuple[Reader, str | None]:
    """A reader that has heard the events, up to the first that the contract forbids."""
    reader = Reader()
    for number, event in enumerate(events):
        try:
            reader.hear(event)
        except AssertionError as error:
            since = b" ".join(events[max(number - 2, 0) : number + 1]).decode(errors="replace")
            return reader, f"{error} at event {number}: {since}"
    return reader, None


def _is_served(job: Job, served: dict[str, Any]) -> bool:
    said = [
        part for part in served["output"] if part["choice"] == 0 and part["channel"] == "content"
    ]
    saved = job.output_text or ""
    if not said:
        return not saved
    if said[0]["text"] is not None:
        return bool(repair(said[0]["text"]) == saved)
    return bool(said[0]["sha256"] == hashlib.sha256(saved.encode()).hexdigest())


def _overlaps(id: str, served: Sequence[dict[str, Any]], most_s: float) -> Iterator[str]:
    for one, other in combinations(served, 2):
        begins = max(one["started_s"], other["started_s"])
        ends = min(one["ended_s"] or float("inf"), other["ended_s"] or float("inf"))
        if ends - begins > most_s + SLACK_S:
            yield f"{id}: two streams at once for {ends - begins:.1f} s"


def _hurried(evidence: Evidence) -> Iterator[str]:
    """Requests that came before the wait was over that the upstream had named."""
    for id, served in evidence.served_by_job().items():
        for refused, again in pairwise(served):
            wait_s = named_wait_s(refused)
            if wait_s and again["started_s"] < refused["ended_s"] + wait_s:
                yield f"{id} came again before the {wait_s} s it was told to wait"


def named_wait_s(served: dict[str, Any]) -> float | None:
    """The wait that the simulator named with this refusal, from the model's own name."""
    parameters = dict(
        part.partition("=")[::2] for part in served["model"].partition("?")[2].split("&")
    )
    if served["fault"] and served["status"] in {429, 503} and "wait" in parameters:
        return float(parameters["wait"])
    return None
