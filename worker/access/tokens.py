"""Read tokens: signed words that open one job's events, for a while, to who cannot send headers.

    dwr_<job>.<expiry, seconds since the epoch>.<HMAC-SHA256, base64url>

A browser's EventSource sends no Authorization header, so the token travels in the URL: it opens
one job, only for reading, and not for long.
"""

import base64
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

from worker.disk import for_us_alone
from worker.settings import Settings

PREFIX = "dwr_"
SECRET_BYTES = 32


class Tokens:
    """Signs and checks with one secret, which all gateways of a fleet share."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, job: str, life_s: float) -> tuple[str, int]:
        """A token for the job, and the moment at which it expires, seconds since the epoch."""
        expires = int(time.time() + life_s)
        return f"{PREFIX}{job}.{expires}.{self._signature(job, expires)}", expires

    def opens(self, token: str, job: str) -> bool:
        """Whether the token is ours, for this job, and has not expired."""
        named, _, rest = token.removeprefix(PREFIX).partition(".")
        expiry, _, signature = rest.partition(".")
        if not token.startswith(PREFIX) or named != job or not expiry.isdecimal():
            return False
        if len(expiry) > 15 or int(expiry) <= time.time():
            return False
        return hmac.compare_digest(signature.encode(), self._signature(job, int(expiry)).encode())

    def _signature(self, job: str, expires: int) -> str:
        signed = hmac.new(self._secret, f"{job}.{expires}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def token_secret(settings: Settings) -> bytes:
    """The setting's, or else one that is made once and kept in `home`.

    Raises:
        OSError: it can be neither read nor kept.
    """
    if settings.token_secret is not None:
        return settings.token_secret.get_secret_value().encode()
    path = settings.home / "token-secret"
    if not path.exists():
        _keep(path)
    return path.read_bytes()


def _keep(path: Path) -> None:
    """Write a new secret, whole and for us alone, unless another process has just done so."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with open(draft, "wb", opener=for_us_alone) as file:
        file.write(secrets.token_bytes(SECRET_BYTES))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
