"""The bytes of `chat.completion.chunk` events, in OpenAI's field order.

Only the few bytes of a delta differ from event to event, so everything around them is encoded once.
"""

from collections.abc import Callable

import msgspec

from worker.simulator.request import ChatRequest
from worker.simulator.text import Token

FINGERPRINT = "fp_simulated"
DONE = b"data: [DONE]\n\n"

encode = msgspec.json.encode


class Chunks:
    """Writes the events of one response.

    `created` is in seconds since the epoch. With `stream_options.include_usage` every chunk but the
    last carries `usage: null`, as OpenAI's do.
    """

    def __init__(self, request: ChatRequest, completion_id: str, created: int) -> None:
        self._envelope = encode(
            {
                "id": completion_id,
                "object": "chat.completion.chunk",
                "created": created,
                "model": request.model,
                "service_tier": "default",
                "system_fingerprint": FINGERPRINT,
            }
        )[:-1]
        self._usage = b',"usage":null' if request.include_usage else b""
        self._top_logprobs = (request.top_logprobs or 0) if request.logprobs else None

    def chunk(self, choices: bytes, more: bytes = b"") -> bytes:
        """An event with these `choices` (a JSON array) and `more` top-level members."""
        return b'data: %b,"choices":%b%b%b}\n\n' % (self._envelope, choices, self._usage, more)

    def delta(
        self, choice: int, delta: bytes, finish: str | None = None, more: bytes = b""
    ) -> bytes:
        """An event with one choice; `delta` is a JSON object."""
        body = b'[{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}]'
        return self.chunk(body % (choice, delta, encode(finish)), more)

    def field(self, choice: int, field: str) -> Callable[[Token], bytes]:
        """A fast writer of deltas that hold one token in `field` of `choice`."""
        if self._top_logprobs is not None and field in ("content", "refusal"):
            return self._field_with_logprobs(choice, field, self._top_logprobs)
        sample = self.delta(choice, encode({field: "\0"}))
        before, after = sample.split(b'"\\u0000"')
        return lambda token: before + token.json + after

    def _field_with_logprobs(self, choice: int, field: str, top: int) -> Callable[[Token], bytes]:
        def write(token: Token) -> bytes:
            logprobs = {"content": None, "refusal": None, field: [logprob(token, top)]}
            choices = b'[{"index":%d,"delta":{"%b":%b},"logprobs":%b,"finish_reason":null}]'
            return self.chunk(
                choices % (choice, field.encode(), token.json, encode(logprobs)),
            )

        return write

    def usage(self, usage: dict[str, object]) -> bytes:
        """The chunk after the last choice has finished."""
        return b'data: %b,"choices":[],"usage":%b}\n\n' % (self._envelope, encode(usage))


def logprob(token: Token, top: int) -> dict[str, object]:
    """A plausible log probability that depends on the token alone, and `top` alternatives."""

    def entry(text: str, rank: int) -> dict[str, object]:
        value = -0.01 * (1 + len(text)) - rank
        return {"token": text, "logprob": value, "bytes": list(text.encode())}

    ranked = [entry(token.text + "~" * rank, rank) for rank in range(top)]
    return {**entry(token.text, 0), "top_logprobs": ranked}
