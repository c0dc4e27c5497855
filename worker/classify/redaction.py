"""Text of others, made fit to be kept: no keys, no unencodable characters, not too long.

An upstream's words end in the database, in logs and in answers to clients. Some upstreams echo
the key they refuse (`Incorrect API key provided: sk-...`), some proxies the whole request URL.
"""

import re

from worker.text import repair

MESSAGE_LIMIT = 2_000
"""Characters of a message that are kept."""

WORD_LIMIT = 128
"""Characters of a code or a request id that are kept; real ones are under 60."""

_SCAN_LIMIT = 20_000
"""Characters of a text that are searched for keys: ten times what is kept."""

_REDACTED = "[redacted]"

# Prefixes by which vendors mark their keys: OpenAI, Anthropic, DeepSeek and many more (sk-, sess-),
# Google (AIza, ya29.), xAI, Groq, Hugging Face, Perplexity, Replicate, NVIDIA, Fireworks, Together,
# Cerebras, AWS, GitHub. A letter before the short ones means an ordinary word (`task-...`).
_VENDOR_KEY = re.compile(
    r"(?<![A-Za-z])(?:sk|sess|xai|pplx|csk|nvapi)-[\w.*-]+"
    r"|(?<![A-Za-z])(?:sk|gsk|hf|r8|fw|tgp|gh[pousr]|github_pat)_[\w*-]{8,}"
    r"|AIza[\w-]+|ya29\.[\w-]+|(?:AKIA|ASIA)[A-Z0-9]{12,}"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*",
    re.ASCII,
)

# Whatever its form, what follows one of these is a secret.
_LABELLED_SECRET = re.compile(
    r"(?P<label>\bbearer\s+"
    r"|\b(?:api[-_ ]?key|authorization)(?:\s+provided)?[\"']?\s*[:=]\s*[\"']?"
    r"(?:bearer\s+|basic\s+)?"
    r"|(?:key|token|secret|password|signature)=[\"']?"
    r"|://[^\s/:@]+:(?=[^\s/@]+@))"
    r"(?P<secret>[^\s\"'&,;@]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text without API keys, repaired (see `worker.text`), of at most 2,000 characters."""
    without_keys = _VENDOR_KEY.sub(_REDACTED, text[:_SCAN_LIMIT])
    without_secrets = _LABELLED_SECRET.sub(rf"\g<label>{_REDACTED}", without_keys)
    return _shortened(repair(without_secrets).strip(), MESSAGE_LIMIT)


def redact_word(word: str) -> str:
    """A code or a request id, treated like a message but held to 128 characters."""
    return _shortened(redact(word), WORD_LIMIT)


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
