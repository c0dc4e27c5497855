"""What upstreams say a request has used: counts of tokens, by the names of chat completions.

Some send strings, negative numbers or null in their place: what can be no count is none.
"""

from collections.abc import Mapping

INPUT = ("prompt_tokens",)
CACHED = ("prompt_tokens_details", "cached_tokens")
CACHE_WRITE = ("prompt_tokens_details", "cache_write_tokens")
OUTPUT = ("completion_tokens",)
REASONING = ("completion_tokens_details", "reasoning_tokens")
TOTAL = ("total_tokens",)

# No request has so many; beyond, it is a mistake that no sum is to have in it.
MOST_TOKENS = 10**9


def count(usage: object, *path: str) -> int | None:
    """A count of a usage, such as `count(usage, *CACHED)`; None where there is none."""
    found = usage
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if type(found) is int and 0 <= found <= MOST_TOKENS else None
