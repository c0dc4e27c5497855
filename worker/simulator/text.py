"""Deterministic text that says of itself that it is simulated.

Recomputable anywhere: a token depends on nothing but the seed and its position. The generator is
Knuth's MMIX linear congruence, not `random`, so that the text outlives Python versions.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec


class Token(NamedTuple):
    """One token of text, and the same as a JSON string literal."""

    text: str
    json: bytes

    @classmethod
    def of(cls, text: str) -> "Token":
        """The token with its JSON form."""
        return cls(text, msgspec.json.encode(text))


OPENING = tuple(
    Token.of(text)
    for text in ("[simulated]", " This", " text", " was", " made", " by", " deltaworks", ":")
)
"""How every text begins; even one token says what it is."""

_PROSE = (
    "the a of to in and that is was for it with as his on be at by had not are but from or have an "
    "they which one you were all her she there would their we him been has when who will more no "
    "if out so said what up its about into than them can only other new some could time these two "
    "may then do first any my now such like our over man me even most made after also did many "
    "before must through back years where much your way well down should because each just those "
    "people how too little state good very make world still own see men work long get here between "
    "stream delta token worker queue river stone light window paper garden number winter morning"
)
_MARKS = (",", ",", ",", ".", ".", ".", ";", ":", "!", "?", "\n", " -", "...", '"')
_FOREIGN = (
    " café", " naïve", " Straße", " señor", " Привет", " мир", " 東京", "都", " 안녕", " שלום",
    " ελπίδα", " 🙂", "🚀", " 👩‍💻", " 🇨🇭", " e\u0301",
)  # fmt: skip

VOCABULARY = tuple(
    Token.of(text) for text in (*(f" {word}" for word in _PROSE.split()), *_MARKS, *_FOREIGN)
)

_MULTIPLIER = 6364136223846793005
_INCREMENT = 1442695040888963407
_MASK = (1 << 64) - 1


def seed_of(*parts: str) -> int:
    """A 64-bit seed from the strings that name a text."""
    digest = hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def endless(seed: int) -> Iterator[Token]:
    """The tokens of `seed`, for ever."""
    yield from OPENING
    state, size, vocabulary = seed, len(VOCABULARY), VOCABULARY
    while True:
        state = (state * _MULTIPLIER + _INCREMENT) & _MASK
        # The low bits of a linear congruence are weak; the high ones choose.
        yield vocabulary[(state >> 33) % size]


def tokens(seed: int, count: int) -> Iterator[Token]:
    """The first `count` tokens of `seed`."""
    return islice(endless(seed), count)
