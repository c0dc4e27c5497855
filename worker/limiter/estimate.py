"""How many tokens a request will cost, before anybody knows: a rough count, corrected by usage."""

from collections.abc import Mapping

# English text in the encodings of OpenAI's models (its help pages' rule of thumb).
CHARACTERS_PER_TOKEN = 4
# A message's role and frame (OpenAI's cookbook, counting tokens for chat models).
TOKENS_PER_MESSAGE = 4
# A picture, a sound or a file: most cost some hundreds to a few thousands.
TOKENS_PER_ATTACHMENT = 1_000
# The answer, where the request does not limit it.
COMPLETION_TOKENS = 1_000


def estimated_tokens(request: Mapping[str, object]) -> int:
    """The tokens of a chat-completions body and of the answers it allows."""
    return estimated_prompt(request) + _completion(request)


def estimated_prompt(request: Mapping[str, object]) -> int:
    """The tokens of a chat-completions body alone."""
    messages = request.get("messages")
    prompt = sum(map(_message, messages)) if isinstance(messages, list) else 0
    offered = _characters(request.get("tools")) // CHARACTERS_PER_TOKEN
    return prompt + offered


def estimated_output(characters: int) -> int:
    """The tokens of that many characters of an answer: four a token, one begun counts whole."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def _completion(request: Mapping[str, object]) -> int:
    allowed = request.get("max_completion_tokens") or request.get("max_tokens")
    choices = request.get("n")
    each = allowed if isinstance(allowed, int) else COMPLETION_TOKENS
    return each * (choices if isinstance(choices, int) else 1)


def _message(message: object) -> int:
    if not isinstance(message, Mapping):
        return 0
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    called = _characters(message.get("tool_calls")) // CHARACTERS_PER_TOKEN
    return TOKENS_PER_MESSAGE + called + sum(map(_part, parts))


def _part(part: object) -> int:
    if isinstance(part, Mapping) and not isinstance(part.get("text"), str):
        return TOKENS_PER_ATTACHMENT
    text = part["text"] if isinstance(part, Mapping) else part
    return _characters(text) // CHARACTERS_PER_TOKEN


def _characters(value: object) -> int:
    """Characters of all texts in a JSON value, names included."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(name) + _characters(inner) for name, inner in value.items())
    return sum(map(_characters, value)) if isinstance(value, list) else 0
