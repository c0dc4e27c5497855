"""The checker of batches finds each thing that it looks for."""

from collections.abc import Callable
from typing import Any

import pytest

from models import Job
from tests.faults.audit import Change
from tests.faults.batch_checker import Outcome, violations
from tests.faults.evidence import Evidence

USAGE = {"prompt_tokens": 2, "completion_tokens": 3}


def job(row: int, state: str, generation: int = 0, **more: Any) -> Job:
    id, name = f"job_{row}_{generation}", f"row-{row}"
    known = {"id": id, "batch_row": row, "custom_id": name, "superseded": False, "state": state}
    return Job(**{**known, "generation": generation, **more})


def done(name: str, text: str) -> dict[str, Any]:
    return {
        "custom_id": name,
        "response": {"body": {"choices": [{"message": {"content": text}}]}},
    }


def whole() -> Outcome:
    """Two rows, one of which was tried again, and one that failed; nothing is amiss."""
    evidence = Evidence(
        expected={},
        jobs={},
        changes=[Change("job_0_0", "in_progress", "completed", 1, 1, 0, 0, 100.0)],
        attempts=[],
        served=[{"job": "job_0_0", "started_ns": int(99.9e9)}],
        heard={},
        late={},
        logs={},
        keys={},
        printed={},
        left=b"",
        secrets=(),
        overlap_s=1.0,
    )
    jobs = [
        job(0, "completed", output_text="a", usage=USAGE, cost=1.0),
        job(1, "failed", superseded=True, error_category="server", usage=USAGE, cost=0.5),
        job(1, "completed", 1, output_text="b", usage=USAGE),
        job(2, "failed", error_category="content_filter", error_code="x"),
    ]
    document = {
        "status": "completed",
        "request_counts": {"total": 3, "completed": 2, "failed": 1},
        "failures": {"content_filter": 1},
        "usage": {"input_tokens": 4, "output_tokens": 6},
        "cost": 1.5,
    }
    failed = {"custom_id": "row-2", "response": {"body": {"error": {"code": "x"}}}}
    return Outcome(
        status="completed",
        custom_ids=["row-0", "row-1", "row-2"],
        document=document,
        output=[done("row-0", "a"), done("row-1", "b")],
        errors=[failed],
        jobs=jobs,
        evidence=evidence,
    )


def test_nothing_is_amiss_where_all_is_whole() -> None:
    assert violations(whole()) == []


def set_on(name: str, **values: Any) -> Callable[[Any], None]:
    """Sets members of the job or document of that name."""

    def spoil(outcome: Any) -> None:
        if name == "document":
            outcome.document |= values
            return
        (found,) = [job for job in outcome.jobs if job.id == name]
        for key, value in values.items():
            setattr(found, key, value)

    return spoil


def sent_late(outcome: Any) -> None:
    outcome.evidence.served[0]["started_ns"] = int(101.5e9)


@pytest.mark.parametrize(
    ("check", "spoil"),
    [
        ("it_ends_as_it_should", set_on("document", status="expired")),
        ("every_row_became_jobs", lambda outcome: outcome.jobs.pop()),
        ("every_row_became_jobs", set_on("job_1_0", superseded=False)),
        ("every_row_became_jobs", set_on("job_1_0", state="completed")),
        ("every_row_became_jobs", set_on("job_1_1", generation=2)),
        ("every_row_became_jobs", set_on("job_0_0", custom_id="row-2")),
        ("every_row_has_one_line", lambda outcome: outcome.errors.pop()),
        ("every_row_has_one_line", lambda outcome: outcome.output.append(done("row-0", "a"))),
        ("every_row_has_one_line", lambda outcome: outcome.output.append(done("new", "a"))),
        ("lines_say_what_is_saved", set_on("job_1_1", output_text="c")),
        ("lines_say_what_is_saved", set_on("job_1_1", state="failed")),
        ("lines_say_what_is_saved", set_on("job_2_0", error_code="y")),
        ("the_accounts_add_up", set_on("document", failures={})),
        ("the_accounts_add_up", set_on("document", cost=1.0)),
        ("the_accounts_add_up", set_on("job_1_1", usage=None)),
        ("the_accounts_add_up", set_on("job_1_1", state="cancelled")),
        ("nothing_is_sent_after_the_end", sent_late),
    ],
)
def test_each_check_finds_what_it_looks_for(check: str, spoil: Callable[[Any], None]) -> None:
    outcome = whole()
    spoil(outcome)
    assert any(found.startswith(f"{check}: ") for found in violations(outcome))
