"""A request for a batch: one validation for the gateway and the command line."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from models import Batch, File
from worker.batch.windows import RunWindow, duration_s
from worker.errors import InvalidRequest, Unknown, Unsupported
from worker.ids import new_id
from worker.request import WebhookTerms, metadata_of, named, object_of, shown, webhook_of

# How ids of batches begin.
BATCH = "batch_"
# What rows may ask for. Other clients leave the version out (Azure's).
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ENDPOINTS = (CHAT, RESPONSES)
VERSION = "/v1"
OPENAI = ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")
OURS = (
    "run_window", "priority", "max_cost", "max_failed_ratio", "mixed_models", "webhook",
)  # fmt: skip
# OpenAI's bounds of `output_expires_after.seconds`: an hour to thirty days.
LEAST_LIFE_S, MOST_LIFE_S = 3_600, 2_592_000
MOST_PRIORITY = 100
# Nobody spends more: what is larger is a slip, or no number to reckon with.
MOST_COST = 1e12
WINDOW = "24h"


def endpoint_of(given: object) -> str | None:
    """The endpoint that a URL names, with or without its version; None where we have none."""
    if not isinstance(given, str):
        return None
    path = given if given.startswith(f"{VERSION}/") else VERSION + given
    return path if path in ENDPOINTS else None


def batch_of(document: object, input_file: File, tenant: str, webhooks: WebhookTerms) -> Batch:
    """The batch that the document asks for.

    Args:
        document: what the caller sent.
        input_file: what its `input_file_id` names.
        tenant: whose batch it is.
        webhooks: what a webhook may be.

    Raises:
        InvalidRequest: the first fault, by field.
    """
    given = fields_of(document)
    window = given.get("completion_window", WINDOW)
    life_s = duration_s(window, "completion_window")
    return Batch(
        id=new_id(BATCH),
        tenant=tenant,
        endpoint=_endpoint(given.get("endpoint")),
        input_file_id=input_file.id,
        completion_window=str(window),
        labels=metadata_of(given.get("metadata")),
        output_life_s=_output_life_s(given.get("output_expires_after")),
        run_window=_run_window(given.get("run_window")),
        priority=_priority(given.get("priority", 0)),
        max_cost=max_cost_of(given),
        max_failed_ratio=max_failed_ratio_of(given),
        mixed_models=_flag(given, "mixed_models"),
        webhook_url=webhook_of(given.get("webhook"), webhooks),
        created_at=(now := datetime.now(UTC)),
        expires_at=now + timedelta(seconds=life_s),
    )


def fields_of(document: object) -> Mapping[str, object]:
    """The fields that were given: null is not.

    Raises:
        InvalidRequest: it is no object, or has a field that there is not.
    """
    given = object_of(document, "batch")
    for name in given:
        if name not in OPENAI and name not in OURS:
            raise Unknown(named(name), "is no field of a batch", "leave it out")
    found = {name: value for name, value in given.items() if value is not None}
    if not isinstance(found.get("input_file_id"), str):
        problem = f"is {shown(found.get('input_file_id'))}"
        raise InvalidRequest("input_file_id", problem, "give the id of a file of purpose batch")
    return found


def _endpoint(given: object) -> str:
    if (endpoint := endpoint_of(given)) is not None:
        return endpoint
    problem = "is missing" if given is None else f"is {shown(given)}"
    raise Unsupported("endpoint", problem, f"use {' or '.join(ENDPOINTS)}")


def _output_life_s(given: object) -> int | None:
    if given is None:
        return None
    wish = object_of(given, "output_expires_after")
    if wish.get("anchor") != "created_at":
        problem = f"is {shown(wish.get('anchor'))}"
        raise InvalidRequest("output_expires_after.anchor", problem, "give created_at")
    seconds = wish.get("seconds")
    if type(seconds) is not int or not LEAST_LIFE_S <= seconds <= MOST_LIFE_S:
        raise InvalidRequest(
            "output_expires_after.seconds",
            f"is {shown(seconds)}",
            f"give {LEAST_LIFE_S} to {MOST_LIFE_S}",
        )
    return seconds


def _run_window(given: object) -> str | None:
    if given is None:
        return None
    RunWindow.parse(given, "run_window")
    return str(given)


def _priority(given: object) -> int:
    if type(given) is not int or abs(given) > MOST_PRIORITY:
        remedy = f"give a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}; higher is sooner"
        raise InvalidRequest("priority", f"is {shown(given)}", remedy)
    return given


def max_cost_of(given: Mapping[str, object]) -> float | None:
    """The spending cap; None where there is none.

    Raises:
        InvalidRequest: it is no such number.
    """
    return _number(given, "max_cost", 0.0, MOST_COST)


def max_failed_ratio_of(given: Mapping[str, object]) -> float | None:
    """The share of failed rows above which the batch pauses; None where there is none.

    Raises:
        InvalidRequest: it is no such number.
    """
    return _number(given, "max_failed_ratio", 0.0, 1.0)


def _number(given: Mapping[str, object], name: str, above: float, most: float) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= most:
        remedy = f"give a number above {above:g} and at most {most:g}"
        raise InvalidRequest(name, f"is {shown(value)}", remedy)
    return float(value)


def _flag(given: Mapping[str, object], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(name, f"is {shown(value)}", "give true or false")
    return value
