"""What the options of `batch submit` ask for, as a request for a batch."""

from pathlib import Path

import msgspec

from worker.batch.request import CHAT, endpoint_of, max_cost_of, max_failed_ratio_of
from worker.cli.batch.source import Head
from worker.cli.document import pair
from worker.errors import InvalidRequest

# How a file of whole requests is named.
JSONL_NAMES = (".jsonl", ".ndjson")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """The options as they were given.

    Attributes:
        terms: other fields of the request for a batch, by name; None where they were not given.
    """

    file: Path
    text: bool
    jsonl: bool
    model: str | None
    system: str | None
    params: list[str]
    template: Path | None
    endpoint: str | None
    metadata: list[str]
    max_cost: float | None
    max_failed_ratio: float | None
    terms: dict[str, object]


def has_prompts(wish: Wish, head: Head) -> bool:
    """Whether the file is text with a prompt on each line; else it is JSONL.

    Raises:
        InvalidRequest: the options contradict one another, or the file.
    """
    if wish.text and wish.jsonl:
        raise InvalidRequest("--text", "is given beside --jsonl", "give one of them")
    if wish.text or not (wish.jsonl or _is_jsonl(wish, head)):
        return True
    for_prompts = {
        "--model": wish.model,
        "--system": wish.system,
        "--param": wish.params or None,
        "--template": wish.template,
    }
    for option, given in for_prompts.items():
        if given is not None:
            problem = "is given for JSONL, whose lines are whole requests"
            raise InvalidRequest(option, problem, "leave it out, or give --text")
    return False


def _is_jsonl(wish: Wish, head: Head) -> bool:
    """Whether it is JSONL where no option says so.

    What was meant to be a row is not to be run as a prompt because of a fault in it: that is for
    the batch's validation to tell. Only a template says that lines of any kind are prompts.
    """
    named = wish.file.suffix.lower() in JSONL_NAMES
    return head.is_row or (wish.template is None and (named or head.is_object))


def batch_request(wish: Wish, head: Head, file_id: str, *, prompts: bool) -> dict[str, object]:
    """The request for a batch, as `BatchSubmission.create` takes it.

    Raises:
        InvalidRequest: names the option at fault.
    """
    check_limits(wish.max_cost, wish.max_failed_ratio)
    limits = {"max_cost": wish.max_cost, "max_failed_ratio": wish.max_failed_ratio}
    terms = {name: given for name, given in (wish.terms | limits).items() if given is not None}
    metadata = dict(pair(given, "--metadata") for given in wish.metadata)
    return {
        "input_file_id": file_id,
        "endpoint": _endpoint(wish, head, prompts),
        "mixed_models": not prompts,
        **({"metadata": metadata} if metadata else {}),
        **terms,
    }


def check_limits(max_cost: float | None, max_failed_ratio: float | None) -> None:
    """Check the limits that a batch is given, now or when it is resumed.

    Raises:
        InvalidRequest: one of them is none.
    """
    given = {"max_cost": max_cost, "max_failed_ratio": max_failed_ratio}
    for name, rule in (("max_cost", max_cost_of), ("max_failed_ratio", max_failed_ratio_of)):
        try:
            rule(given)
        except InvalidRequest as error:  # the rule is the gateway's; here the option is at fault
            option, problem = f"--{name.replace('_', '-')}", f"is {given[name]:g}"
            raise InvalidRequest(option, problem, error.remedy) from None


def _endpoint(wish: Wish, head: Head, prompts: bool) -> object:
    """What is asked for; what is no endpoint is left to be refused with all else."""
    found = wish.endpoint
    if found is None and not prompts and head.row is not None:
        given = head.row.get("url")
        found = given if isinstance(given, str) else None
    # Of a first line that names none, the batch's validation says what is wrong with it.
    found = found or CHAT
    return endpoint_of(found) or found
