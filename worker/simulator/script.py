"""A model name as a script: `sim?tokens=300&rate=50&fault=cut-rst` becomes a `Plan`.

The part before `?` is an alias that sets defaults; the rest, in the syntax of a URL query,
overrides them. Whoever can choose a model can thus choose a behaviour, through any client or queue.
"""

from typing import Annotated, Literal
from urllib.parse import parse_qsl

import msgspec

from worker.errors import InvalidRequest

Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"for_s": "for"}):
    """What one request is answered with. Durations are seconds.

    Attributes:
        tokens: content tokens in each choice, one delta each; 0 is an empty answer.
        rate: tokens a second in each choice; 0 is as fast as the socket takes them.
        ttft: time to the first token.
        reasoning: tokens of reasoning before the content.
        reasoning_field: the delta field that carries them (providers differ).
        tools: calls of the request's first tools, instead of content, where it offers any.
        refusal: 1 writes the text into `refusal` instead of `content`.
        fault: a name from the table of faults.
        times: how many requests of one conversation the fault strikes, or `all`.
        key: names the conversation; else the job header does, else model and messages.
        at: deltas before the fault strikes; default half of them.
        for_s: written `for`: how long a stall or a silence lasts; default for ever.
        every: the gap between pings, comments or dripped bytes.
        wait: the wait that a rate limit names.
        size: characters in a huge event.
        rpm: requests a minute that this model name admits; 0 is no limit.
        vary: 1 gives each request of a conversation another text, so that a splice shows.
        seed: another text for the same prompt; the request's own `seed` counts as well.
        record: `times` records the wall-clock time of every write.
    """

    tokens: Count = 60
    rate: Annotated[float, msgspec.Meta(ge=0)] = 50.0
    ttft: Seconds = 0.15
    reasoning: Count = 0
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    tools: Count = 0
    refusal: Literal[0, 1] = 0
    fault: str = ""
    times: str = ""
    key: str = ""
    at: Count | None = None
    for_s: Seconds = float("inf")
    every: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    wait: Seconds | None = None
    size: Count = 2_000_000
    rpm: Count = 0
    vary: Literal[0, 1] = 0
    seed: str = ""
    record: Literal["", "times"] = ""


ALIASES: dict[str, dict[str, str]] = {
    "sim": {},
    "sim-fast": {"rate": "0", "ttft": "0"},
    "sim-slow": {"rate": "5", "ttft": "2"},
    "sim-long": {"tokens": "2000"},
    "sim-reasoning": {"reasoning": "40"},
    "sim-tools": {"tools": "1"},
}
"""Model names as `GET /v1/models` lists them, and the parameters each stands for."""


class UnknownModel(InvalidRequest):
    """A name that no alias begins; answered with 404."""


def parse_model(name: str) -> Plan:
    """The plan a model name stands for.

    Raises:
        UnknownModel: the part before `?` is not an alias.
        InvalidRequest: a parameter is unknown or has a value it cannot have.
    """
    alias, _, query = name.partition("?")
    if alias not in ALIASES:
        raise UnknownModel(
            "model", f"the model {name[:80]!r} does not exist", f"one of {', '.join(ALIASES)}"
        )
    try:
        given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        plan = msgspec.convert(ALIASES[alias] | given, Plan, strict=False)
    except ValueError as error:  # msgspec.ValidationError is one
        raise InvalidRequest(
            "model", f"{query[:200]!r}: {error}", "write it as sim?tokens=300&rate=50&ttft=0.2"
        ) from error
    _check_times(plan.times)
    return plan


def _check_times(times: str) -> None:
    if times and times != "all" and not times.isdecimal():
        raise InvalidRequest("model", f"times={times[:20]!r}", "a number, or times=all")
