"""API keys: 256 random bits behind a prefix, with a checksum, so that scanners know a leaked one.

    dw_<43 characters><6 characters of checksum>

Kept is its SHA-256: there is nothing to guess in random bits, so no slow hash is needed.
"""

import hashlib
import secrets
import zlib

PREFIX = "dw_"
RANDOM_BYTES = 32
CHECKSUM_CHARACTERS = 6


def new_key() -> str:
    """A new secret."""
    body = secrets.token_urlsafe(RANDOM_BYTES)
    return f"{PREFIX}{body}{_checksum(body)}"


def looks_like_key(word: str) -> bool:
    """Whether it can be one of ours: the checksum is right. Saves the database a question."""
    body, checksum = word[len(PREFIX) : -CHECKSUM_CHARACTERS], word[-CHECKSUM_CHARACTERS:]
    return word.startswith(PREFIX) and word.isascii() and _checksum(body) == checksum


def digest_of(secret: str) -> str:
    """What is kept of a key, and what it is found by."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"[:CHECKSUM_CHARACTERS]
