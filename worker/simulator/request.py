"""The chat-completions request, as far as the simulator looks into it."""

import hashlib

import msgspec

from worker.errors import InvalidRequest


class StreamOptions(msgspec.Struct, frozen=True):
    """`stream_options` of the request."""

    include_usage: bool = False


class Function(msgspec.Struct, frozen=True):
    """The function a tool offers."""

    name: str


class Tool(msgspec.Struct, frozen=True):
    """One of the request's tools."""

    function: Function


class ChatRequest(msgspec.Struct, frozen=True):
    """The body of `POST /v1/chat/completions`; fields that change nothing here are ignored."""

    model: str
    messages: list[dict[str, object]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, object] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    seed: int | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def token_limit(self) -> int | None:
        """The limit on reasoning and content together, or None."""
        limit = self.max_completion_tokens
        return self.max_tokens if limit is None else limit

    @property
    def offered_tools(self) -> list[str]:
        """Names of the functions the model may call."""
        if self.tool_choice == "none":
            return []
        return [tool.function.name for tool in self.tools or []]

    def messages_sha256(self) -> str:
        """A digest of the messages that does not depend on the order of their keys."""
        canonical = msgspec.json.encode(self.messages, order="deterministic")
        return hashlib.sha256(canonical).hexdigest()

    def prompt_tokens(self) -> int:
        """A rough count, by the rule of thumb of four bytes to a token."""
        return 1 + len(msgspec.json.encode(self.messages)) // 4


_decoder = msgspec.json.Decoder(ChatRequest)


def parse_request(body: bytes) -> ChatRequest:
    """The request in `body`.

    Raises:
        InvalidRequest: the body is no JSON, or a field has the wrong type or an impossible value.
    """
    try:
        request = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidRequest("body", str(error), "send a chat-completions body as JSON") from error
    _check(request)
    return request


def _check(request: ChatRequest) -> None:
    if not request.messages:
        raise InvalidRequest("messages", "the list is empty", "send at least one message")
    if request.n is not None and not 1 <= request.n <= 128:
        raise InvalidRequest("n", f"{request.n} is out of range", "a number from 1 to 128")
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("stream_options", "only allowed with stream: true", "leave it out")
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequest("top_logprobs", "needs logprobs: true", "set both, or neither")
    if request.token_limit is not None and request.token_limit < 1:
        raise InvalidRequest("max_completion_tokens", f"{request.token_limit}", "at least 1")
