"""A request for a batch: OpenAI's fields and ours come out as a row, faults name their field."""

from datetime import UTC, datetime, timedelta

import pytest

from models import Batch
from tests.batches import file
from worker.batch.request import batch_of, endpoint_of, fields_of
from worker.errors import InvalidRequest, Unknown, Unsupported
from worker.request import WebhookTerms

TERMS = WebhookTerms(signed=True)
FILE = file(id="file-in")
SMALLEST = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions"}


def accepted(**fields: object) -> Batch:
    return batch_of({**SMALLEST, **fields}, FILE, "ours", TERMS)


def refused(document: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        batch_of(document, FILE, "ours", TERMS)
    return caught.value


def test_the_smallest_request_is_a_batch_for_a_day() -> None:
    batch = accepted()
    assert (batch.tenant, batch.input_file_id) == ("ours", "file-in")
    assert (batch.endpoint, batch.completion_window) == ("/v1/chat/completions", "24h")
    assert batch.expires_at - batch.created_at == timedelta(hours=24)
    assert abs(datetime.now(UTC) - batch.created_at) < timedelta(minutes=1)
    assert batch.id.startswith("batch_") and accepted().id != batch.id
    assert (batch.priority, batch.mixed_models, batch.max_cost) == (0, False, None)


def test_everything_that_can_be_asked_for_is_taken() -> None:
    batch = accepted(
        completion_window="1h30m",
        metadata={"order": "7"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
        run_window="mon-fri 22:00-06:00 Europe/Berlin",
        priority=-100,
        max_cost=12,
        max_failed_ratio=1,
        mixed_models=True,
        webhook="https://example.com/hook",
    )
    assert batch.expires_at - batch.created_at == timedelta(minutes=90)
    assert (batch.labels, batch.output_life_s) == ({"order": "7"}, 3600)
    assert (batch.run_window, batch.priority) == ("mon-fri 22:00-06:00 Europe/Berlin", -100)
    assert (batch.max_cost, batch.max_failed_ratio, batch.mixed_models) == (12.0, 1.0, True)
    assert batch.webhook_url == "https://example.com/hook"


def test_null_is_as_left_out() -> None:
    names = ("completion_window", "metadata", "output_expires_after", "run_window", "priority",
             "max_cost", "max_failed_ratio", "mixed_models", "webhook")  # fmt: skip
    batch = accepted(**dict.fromkeys(names))
    assert (batch.completion_window, batch.priority, batch.mixed_models) == ("24h", 0, False)


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/responses", "/v1/responses"),
        ("/responses", "/v1/responses"),
        ("/v1/embeddings", None),
        ("/v1/completions", None),
        ("chat/completions", None),
        ("/v1/v1/responses", None),
        ("/v1", None),
        ("", None),
        (None, None),
        (["/v1/responses"], None),
    ],
)
def test_an_endpoint_may_be_named_without_its_version(given: object, endpoint: str | None) -> None:
    assert endpoint_of(given) == endpoint
    if endpoint:
        assert accepted(endpoint=given).endpoint == endpoint
    else:
        fault = refused({**SMALLEST, "endpoint": given})
        assert isinstance(fault, Unsupported) and "/v1/responses" in fault.remedy


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("input_file_id", None, "input_file_id"),
        ("input_file_id", 7, "input_file_id"),
        ("completion_window", "a day", "completion_window"),
        ("completion_window", 24, "completion_window"),
        ("completion_window", "59s", "completion_window"),
        ("completion_window", "31d", "completion_window"),
        ("metadata", {"k": 7}, "metadata.k"),
        ("metadata", {"k": "v" * 513}, "metadata.k"),
        ("output_expires_after", 3600, "output_expires_after"),
        ("output_expires_after", {"seconds": 3600}, "output_expires_after.anchor"),
        ("output_expires_after", {"anchor": "created_at"}, "output_expires_after.seconds"),
        ("run_window", "at night", "run_window"),
        ("run_window", 22, "run_window"),
        ("priority", 101, "priority"),
        ("priority", True, "priority"),
        ("priority", 1.0, "priority"),
        ("max_cost", 0, "max_cost"),
        ("max_cost", -1.0, "max_cost"),
        ("max_cost", "12", "max_cost"),
        ("max_cost", True, "max_cost"),
        ("max_failed_ratio", 0, "max_failed_ratio"),
        ("max_failed_ratio", 1.01, "max_failed_ratio"),
        ("mixed_models", "yes", "mixed_models"),
        ("webhook", "nowhere", "webhook"),
        ("model", "gpt-4o", "model"),
    ],
)
def test_a_fault_names_its_field_and_what_to_write(name: str, value: object, field: str) -> None:
    fault = refused({**SMALLEST, name: value})
    assert fault.field.startswith(field.partition(".k")[0]) and fault.remedy
    if field.startswith("output"):
        assert fault.field == field


@pytest.mark.parametrize("seconds", [3599, 2_592_001, True, 3600.0, "3600"])
def test_output_lives_an_hour_to_thirty_days(seconds: object) -> None:
    life = {"anchor": "created_at", "seconds": seconds}
    fault = refused({**SMALLEST, "output_expires_after": life})
    assert fault.field == "output_expires_after.seconds"
    for bound in (3600, 2_592_000):
        life = {"anchor": "created_at", "seconds": bound}
        assert accepted(output_expires_after=life).output_life_s == bound


@pytest.mark.parametrize("document", [None, [], "batch", 7, [SMALLEST]])
def test_what_is_no_object_is_no_batch(document: object) -> None:
    assert refused(document).field == "batch"


def test_a_field_that_there_is_not_is_refused_even_if_it_is_null() -> None:
    with pytest.raises(Unknown):
        fields_of({**SMALLEST, "max_costs": None})


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 10**400, 1e13])
def test_a_number_that_cannot_be_reckoned_with_is_no_limit(number: float) -> None:
    """The dispatcher divides by what rows cost."""
    for name in ("max_cost", "max_failed_ratio"):
        assert refused({**SMALLEST, name: number}).field == name
