"""The job request that the options of `run` and `submit` describe."""

import sys
from pathlib import Path

import msgspec

from worker.errors import InvalidRequest

# Stands for standard input in the place of a file.
STDIN = Path("-")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options as they were given. `whole` is a file with a complete job request."""

    prompt: str | None
    file: Path | None
    model: str | None
    system: str | None
    params: list[str]
    lane: str | None
    idempotency_key: str | None
    metadata: list[str]
    scheduled_at: str | None = None
    deadline_at: str | None = None
    whole: Path | None = None


def document(asked: Request) -> dict[str, object]:
    """The job request as a JSON document; its model is missing where no option names one.

    Raises:
        InvalidRequest: names the option at fault.
    """
    if asked.whole is not None:
        return _whole(asked)
    body: dict[str, object] = dict(parameter(given) for given in asked.params)
    for name in body.keys() & {"model", "messages"}:
        raise InvalidRequest("--param", f"sets {name}", "use --model, --system and PROMPT for it")
    body["messages"] = _messages(asked)
    if asked.model is not None:
        body["model"] = asked.model
    optional = {
        "lane": asked.lane,
        "idempotency_key": asked.idempotency_key,
        "scheduled_at": asked.scheduled_at,
        "deadline_at": asked.deadline_at,
        "metadata": dict(pair(given, "--metadata") for given in asked.metadata),
    }
    return {"request": body} | {name: given for name, given in optional.items() if given}


def _whole(asked: Request) -> dict[str, object]:
    for field in msgspec.structs.fields(Request):
        given = getattr(asked, field.name)
        if field.name != "whole" and given not in (None, []):
            raise InvalidRequest("--request", "is a whole job request", "give no other option")
    assert asked.whole is not None
    text = _read(asked.whole, "--request")
    try:
        found = msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise InvalidRequest("--request", str(error), "give a JSON object") from None
    return found


def _messages(asked: Request) -> list[dict[str, object]]:
    texts = {"system": asked.system, "user": _prompt(asked)}
    return [{"role": role, "content": text} for role, text in texts.items() if text is not None]


def _prompt(asked: Request) -> str:
    if asked.prompt is not None and asked.file is not None:
        raise InvalidRequest("PROMPT", "is given beside --file", "give one of them")
    if asked.file is not None:
        return _read(asked.file, "--file")
    if asked.prompt is None:
        raise InvalidRequest("PROMPT", "is missing", "give it, or --file (- is standard input)")
    return asked.prompt


def _read(path: Path, option: str) -> str:
    try:
        data = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        return data.decode()
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
        raise InvalidRequest(option, problem, "name a file, or - for standard input") from None
    except UnicodeDecodeError as error:
        problem = f"{path} is no UTF-8 at byte {error.start}"
        raise InvalidRequest(option, problem, "convert it") from None


def pair(given: str, option: str) -> tuple[str, str]:
    """The name and the value of `NAME=VALUE`.

    Raises:
        InvalidRequest: one of them is missing.
    """
    name, separator, value = given.partition("=")
    if not name or not separator:
        raise InvalidRequest(option, f"has no name or no value: {name[:40]!r}", "write name=value")
    return name, value


def parameter(given: str) -> tuple[str, object]:
    """A request parameter of `NAME=VALUE`: JSON, or else text.

    Raises:
        InvalidRequest: the name or the value is missing.
    """
    name, value = pair(given, "--param")
    try:
        return name, msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError):  # then it is meant as text
        return name, value
