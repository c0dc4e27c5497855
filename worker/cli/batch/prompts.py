"""Prompts as the lines of a batch's file."""

import secrets
from collections.abc import Mapping

import msgspec

from worker.batch.request import CHAT
from worker.errors import InvalidRequest
from worker.text import repair, repair_document

PLACEHOLDER = "{prompt}"
# How the ids of lines begin; their number follows.
ROW = "row-"


class Form:
    """The lines of prompts: one request, but for the prompt in it.

    Args:
        body: the request; the placeholder in any text of it stands for the prompt.
        endpoint: its URL.
        placeholder: what stands for the prompt.
    """

    def __init__(
        self, body: Mapping[str, object], endpoint: str, placeholder: str = PLACEHOLDER
    ) -> None:
        # In JSON it can stand in texts only: its characters are none that texts have to escape.
        self._pieces = msgspec.json.encode(body).split(placeholder.encode())
        self._url = msgspec.json.encode(endpoint)

    def line(self, number: int, prompt: str) -> bytes:
        """The line of the prompt, with its line feed; its id tells the number."""
        body = msgspec.json.encode(prompt)[1:-1].join(self._pieces)
        head = b'{"custom_id":"%s%d","method":"POST","url":%s,"body":'
        return head % (ROW.encode(), number, self._url) + body + b"}\n"


def plain_form(endpoint: str, model: str, system: str | None, params: Mapping[str, object]) -> Form:
    """Requests of a prompt alone, or after a system message.

    Raises:
        InvalidRequest: a parameter sets what other options are for.
    """
    # Like nothing in the other texts, which may well talk of {prompt}.
    prompt = secrets.token_hex(16)
    asked: dict[str, object]
    if endpoint == CHAT:
        texts = {"system": system, "user": prompt}
        messages = [
            {"role": role, "content": text} for role, text in texts.items() if text is not None
        ]
        asked = {"model": model, "messages": messages}
    else:
        asked = {"model": model, "input": prompt}
        if system is not None:
            asked["instructions"] = system
    for name in params.keys() & asked.keys():
        raise InvalidRequest("--param", f"sets {name}", "use --model, --system or --template")
    return Form(_repaired({**params, **asked}), endpoint, prompt)


def template_of(content: bytes) -> dict[str, object]:
    """The request body that a template holds.

    Raises:
        InvalidRequest: it is no JSON object, or has no place for the prompt.
    """
    try:
        body = _repaired(msgspec.json.decode(content, type=dict[str, object]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"is no request body ({_reason(error)})"
        raise InvalidRequest("--template", problem, "write it as a JSON object") from None
    if PLACEHOLDER.encode() not in msgspec.json.encode(body):
        problem = f"has no {PLACEHOLDER} in any text"
        raise InvalidRequest("--template", problem, "write it where the prompt is to be")
    return body


def _repaired(body: Mapping[str, object]) -> dict[str, object]:
    return {repair(name): repair_document(value) for name, value in body.items()}


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return "it nests too deeply" if isinstance(error, RecursionError) else str(error)
