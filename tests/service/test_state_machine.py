"""Any interleaving of what processes do to jobs, against a model: one end, a fence, no two holders.

The longer search: `HYPOTHESIS_PROFILE=thorough`.
"""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import create_engine, delete, event, text, update

from models import TERMINAL, Attempt, Death, Job, JobState, schema
from tests.jobs import attempt, ended, request
from worker.errors import Conflict
from worker.store import Settlement, Store, connect

settings.register_profile(
    "state-machine",
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "thorough", settings.get_profile("state-machine"), max_examples=1000, stateful_step_count=80
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "state-machine")

IDS = ("job_0000000000000001", "job_0000000000000002")
PROCESSES = ("one", "two")
PAST, LATER = timedelta(seconds=-5), timedelta(hours=1)
# What a request may have cost; sums of these are exact.
COSTS = st.sampled_from([None, 0.0, 0.25, 2.0])
COLUMNS = [str(attribute.key) for attribute in Job.__mapper__.column_attrs]
ENDS = {state.value for state in TERMINAL}
HELD, QUEUED = JobState.IN_PROGRESS.value, JobState.QUEUED.value

# Every change of a state or an attempt, as the database saw it.
AUDIT_TABLE = """CREATE TABLE audit
    (number {serial}, job text, was text, now text, low integer, high integer)"""
AUDIT_INSERT = """INSERT INTO audit (job, was, now, low, high)
    VALUES (NEW.id, OLD.state, NEW.state, OLD.attempt, NEW.attempt)"""
AUDIT_SQLITE = f"""CREATE TRIGGER audited AFTER UPDATE ON jobs
    WHEN OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt
    BEGIN {AUDIT_INSERT}; END"""
AUDIT_FUNCTION = f"""CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {AUDIT_INSERT}; RETURN NULL; END $$"""
AUDIT_POSTGRESQL = """CREATE TRIGGER audited AFTER UPDATE ON jobs FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt) EXECUTE FUNCTION audit()"""


class Change(NamedTuple):
    """A row of the audit."""

    number: int
    job: str
    was: str
    now: str
    low: int
    high: int


class Held(NamedTuple):
    """What a process believes it holds, rightly or not."""

    id: str
    attempt: int
    process: str


class Bench:
    """A database with its audit, and the stores of several processes, on a loop of their own."""

    def __init__(self, url: str) -> None:
        schema.upgrade(url)
        self.loop = asyncio.Runner()
        self.stores = {name: Store(connect(url), name) for name in (*PROCESSES, "sweep")}
        self.sweep = self.stores["sweep"]
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT")
        self._connection = self._engine.connect()
        is_sqlite = url.startswith("sqlite")
        if is_sqlite:  # nobody pulls the plug
            for store in self.stores.values():
                event.listen(store.engine.sync_engine, "connect", _hurry)
        triggers = [AUDIT_SQLITE] if is_sqlite else [AUDIT_FUNCTION, AUDIT_POSTGRESQL]
        serial = "INTEGER PRIMARY KEY" if is_sqlite else "bigserial"
        for statement in (AUDIT_TABLE.format(serial=serial), *triggers):
            self.execute(text(statement))

    def execute(self, statement: Any) -> list[Any]:
        result = self._connection.execute(statement)
        return list(result) if result.returns_rows else []

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()
        for store in self.stores.values():
            self.loop.run(store.aclose())
        self.loop.close()


def _hurry(connection: Any, _entry: object) -> None:
    connection.cursor().execute("PRAGMA synchronous = OFF")


class Jobs(RuleBasedStateMachine):
    """The rules are what anybody may do at any time; what must come of it follows from the row."""

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Held] = []
        self.live: dict[str, Held] = {}
        self.recorded: set[tuple[str, int]] = set()
        self.seen = 0
        self.highest: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.spent: dict[str, float] = {}

    @initialize()
    def empty(self) -> None:
        for table in (Attempt, Job, Death):
            self.bench.execute(delete(table))
        self.bench.execute(text("DELETE FROM audit"))
        self.submit(IDS[0], "a", None)

    # What is there, and what has changed.

    def run(self, coroutine: Any) -> Any:
        return self.bench.loop.run(coroutine)

    def rows(self) -> dict[str, Job]:
        found: dict[str, Job] = self.run(self.bench.sweep.jobs.many(IDS))
        return found

    def row(self, id: str) -> Job | None:
        return self.rows().get(id)

    def changes(self) -> list[Change]:
        """The changes since the last question, each of them legal by itself."""
        query = "SELECT * FROM audit WHERE number > :seen ORDER BY number"
        fresh = [Change(*row) for row in self.bench.execute(text(query).bindparams(seen=self.seen))]
        for change in fresh:
            assert change.was not in ENDS or change.now == change.was, change
            assert change.high >= change.low >= self.highest.get(change.job, 0), change
            self.highest[change.job], self.seen = change.high, change.number
            if change.now in ENDS and change.was not in ENDS:
                assert change.job not in self.ended, change
                self.ended[change.job] = change.now
        return fresh

    def by_holder(self, held: Held, changed: bool, now: str | None = None) -> None:
        """What the write of a process that believes to hold a job has done."""
        fresh = self.changes()
        if not changed:
            assert fresh == [], (held, fresh)
            return
        (change,) = fresh
        assert self.live.get(held.id) == held, (held, change)
        assert (change.job, change.was, change.low) == (held.id, HELD, held.attempt)
        assert now is None or change.now == now

    def by_others(self, ids: set[str]) -> None:
        """What somebody else than the holder has done: exactly these rows, each raised."""
        fresh = self.changes()
        assert {change.job for change in fresh} == ids and len(fresh) == len(ids), (ids, fresh)
        assert all(change.high > change.low for change in fresh), fresh
        for id in ids:
            self.live.pop(id, None)

    # What callers do.

    @rule(id=st.sampled_from(IDS), prompt=st.sampled_from("ab"), key=st.sampled_from([None, "k"]))
    def submit(self, id: str, prompt: str, key: str | None) -> None:
        given = request(prompt, idempotency_key=key)
        rows = self.rows()
        same = [
            job for job in rows.values() if job.id == id or (key and job.idempotency_key == key)
        ]
        inserting = self.bench.sweep.jobs.insert(given, id=id, tenant="default", deadline_s=3600)
        if len(same) > 1 or any(job.request_hash != given.hash for job in same):
            with pytest.raises(Conflict):
                self.run(inserting)
        else:
            job, is_new = self.run(inserting)
            assert (job.id, is_new) == ((same[0].id, False) if same else (id, True))
        assert self.changes() == []

    @rule(id=st.sampled_from(IDS))
    def cancel(self, id: str) -> None:
        row = self.row(id)
        if row is None:
            return
        job, cancelled = self.run(self.bench.sweep.jobs.cancel(id))
        assert cancelled == (row.state not in ENDS)
        assert job.state == (JobState.CANCELLED.value if cancelled else row.state)
        self.by_others({id} if cancelled else set())

    # What workers do.

    @rule(id=st.sampled_from(IDS), process=st.sampled_from(PROCESSES), suspect=st.booleans())
    def claim(self, id: str, process: str, suspect: bool) -> None:
        row = self.row(id)
        holds = self.bench.stores[process].holds
        job = self.run(holds.claim(id, 30, suspect=suspect))
        due = row is not None and row.state == QUEUED and _is_past(row.scheduled_at)
        wanted = due and row is not None and (suspect or row.crashes < 2)
        assert (job is not None) == wanted
        self.by_others({id} if wanted else set())
        if job is not None:
            held = Held(id, job.attempt, process)
            assert all(each[:2] != held[:2] for each in self.held), held
            self.held.append(held)
            self.live[id] = held

    @rule(process=st.sampled_from(PROCESSES))
    def renew(self, process: str) -> None:
        ours = {held.id: held.attempt for held in self.held if held.process == process}
        live = {id for id, held in self.live.items() if held.process == process}
        assert self.run(self.bench.stores[process].holds.renew(ours, 30)) == live
        assert self.changes() == []

    def pick(self, data: st.DataObject) -> tuple[Held, Store, bool]:
        held = data.draw(st.sampled_from(self.held))
        return held, self.bench.stores[held.process], self.live.get(held.id) == held

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(), unsure=st.booleans(), late=st.booleans(), asked=st.booleans(), spent=COSTS
    )
    def settle(
        self, data: st.DataObject, unsure: bool, late: bool, asked: bool, spent: float | None
    ) -> None:
        held, store, is_live = self.pick(data)
        row = self.row(held.id)
        assert row is not None
        # An end under this attempt is this hold's own, though it may not know of it.
        own = row.state in ENDS and row.attempt == held.attempt
        job = ended(Job(id=held.id, attempt=held.attempt, unverified=False), "text")
        record = attempt(job) if asked else None
        if late:
            won = self.run(store.holds.settle_late(Settlement.of(job, record, spent))) is not None
        else:
            won = self.run(store.holds.settle(job, record, spent=spent, unsure=unsure))
        assert won == (is_live or (own and (unsure or late)))
        self.by_holder(held, is_live, JobState.COMPLETED.value)
        self.put_down(held, is_live, asked, spent)

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(), unsure=st.booleans(), asked=st.booleans(), later=st.booleans(), spent=COSTS
    )
    def defer(
        self, data: st.DataObject, unsure: bool, asked: bool, later: bool, spent: float | None
    ) -> None:
        held, store, is_live = self.pick(data)
        row = self.row(held.id)
        assert row is not None
        own = row.state == QUEUED and row.attempt == held.attempt
        job = Job(id=held.id, attempt=held.attempt)
        due = datetime.now(UTC) + (LATER if later else PAST)
        record = attempt(job) if asked else None
        given = held.id, held.attempt, due, "failures", record
        won = self.run(store.holds.defer(*given, spent=spent, unsure=unsure))
        assert won == (is_live or (own and unsure))
        self.by_holder(held, is_live, QUEUED)
        self.put_down(held, is_live, asked, spent)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), asked=st.booleans(), spent=COSTS)
    def next_attempt(self, data: st.DataObject, asked: bool, spent: float | None) -> None:
        held, store, is_live = self.pick(data)
        job = Job(id=held.id, attempt=held.attempt)
        record = attempt(job) if asked else None
        given = held.id, held.attempt, "failures", record
        won = self.run(store.holds.next_attempt(*given, spent=spent))
        assert won == is_live
        self.by_holder(held, is_live, HELD)
        self.put_down(held, is_live, asked, spent)
        if is_live:
            following = Held(held.id, held.attempt + 1, held.process)
            assert all(each[:2] != following[:2] for each in self.held), following
            self.held.append(following)
            self.live[held.id] = following

    def put_down(self, held: Held, is_live: bool, asked: bool, spent: float | None) -> None:
        if is_live:
            del self.live[held.id]
            if spent is not None:
                self.spent[held.id] = self.spent.get(held.id, 0.0) + spent
            if asked:
                self.recorded.add(held[:2])

    # What time and the sweep do.

    @rule(id=st.sampled_from(IDS))
    def let_the_lease_expire(self, id: str) -> None:
        self.set(id, HELD, lease_until=datetime.now(UTC) + PAST)

    @rule(id=st.sampled_from(IDS))
    def let_it_become_due(self, id: str) -> None:
        self.set(id, QUEUED, scheduled_at=datetime.now(UTC) + PAST)

    @rule(id=st.sampled_from(IDS))
    def let_the_deadline_pass(self, id: str) -> None:
        self.set(id, QUEUED, deadline_at=datetime.now(UTC) + PAST)

    def set(self, id: str, state: str, **columns: object) -> None:
        where = Job.id == id, Job.state == state
        self.bench.execute(update(Job).where(*where).values(columns))
        assert self.changes() == []

    @rule(id=st.sampled_from(IDS))
    def die_and_be_succeeded(self, id: str) -> None:
        """What takes the rules below many steps to bring about."""
        self.let_the_lease_expire(id)
        self.rescue()
        self.claim(id, PROCESSES[1], suspect=True)

    @rule()
    def rescue(self) -> None:
        expired = {id for id, job in self.rows().items() if _is_expired(job)}
        taken = {job.id: job for job in self.run(self.bench.sweep.sweeping.rescue(100))}
        assert taken.keys() == expired
        for job in taken.values():
            poisoned = job.state == JobState.FAILED.value
            assert job.state == QUEUED or (poisoned and job.error_category == "poison")
        self.by_others(expired)

    @rule()
    def end_the_overdue(self) -> None:
        overdue = {
            id
            for id, job in self.rows().items()
            if job.state == QUEUED and _is_past(job.deadline_at)
        }
        assert {job.id for job in self.run(self.bench.sweep.sweeping.overdue(100))} == overdue
        self.by_others(overdue)

    @invariant()
    def rows_say_what_the_model_says(self) -> None:
        for id, job in self.rows().items():
            held = self.live.get(id)
            assert (job.state == HELD) == (held is not None), (id, job.state, held)
            if held is not None:
                assert (job.attempt, job.lease_owner) == (held.attempt, held.process)
            else:
                assert (job.lease_owner, job.lease_until) == (None, None)
            assert job.cost == self.spent.get(id)
            assert self.ended.get(id) == (job.state if job.state in ENDS else None)

    def teardown(self) -> None:
        found = self.bench.execute(text("SELECT job_id, number FROM attempts"))
        assert {tuple(row) for row in found} == self.recorded


def _is_past(moment: datetime | None) -> bool:
    return moment is None or moment <= datetime.now(UTC)


def _is_expired(job: Job) -> bool:
    return job.state == HELD and job.lease_until is not None and _is_past(job.lease_until)


@pytest.fixture
def bench(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A database that is this test's alone."""
    if backend == "sqlite":
        url = f"sqlite:///{tmp_path / 'jobs.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    bench = Bench(url)
    yield bench
    bench.close()


def test_whatever_happens_a_job_ends_once_and_has_one_holder(bench: Bench) -> None:
    class OnThisBench(Jobs):
        pass

    OnThisBench.bench = bench
    run_state_machine_as_test(OnThisBench, settings=settings.get_profile(PROFILE))
