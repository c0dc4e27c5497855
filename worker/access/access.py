"""From the word that came with a request to who sent it."""

import hmac
import time
from enum import StrEnum

from msgspec import Struct

from worker.access.secrets import digest_of, looks_like_key
from worker.errors import Denied, Unauthorized
from worker.request import is_allowed, require_allowed
from worker.store import Keys
from worker.submission import TENANT

# How long a key is trusted without a look at its row: a revocation takes effect within it.
TRUSTED_S = 15.0
# Digests that are remembered at most.
MOST_REMEMBERED = 10_000


class Scope(StrEnum):
    """What a key may be used for."""

    READ = "jobs:read"
    WRITE = "jobs:write"


class Principal(Struct, frozen=True):
    """Who asks: a tenant, by a key. `key_id` is None where nobody needs one."""

    tenant: str
    key_id: str | None = None
    scopes: frozenset[str] = frozenset(Scope)
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None

    def require(self, scope: Scope) -> None:
        """Go on only if the key has the scope.

        Raises:
            Denied: it has not.
        """
        if scope not in self.scopes:
            raise Denied(f"this key lacks the scope {scope.value}; use one that has it")

    def require_model(self, model: object) -> None:
        """Go on only if the key may use the model.

        Raises:
            Denied: it may not.
        """
        if isinstance(model, str):
            require_allowed(model, self.models)

    def may_use(self, model: str) -> bool:
        """Whether the key may use the model."""
        return is_allowed(model, self.models)


# Who asks a gateway that is open, because only this machine reaches it.
LOCAL = Principal(TENANT)


class Access:
    """Finds the key's owner. With `is_open` everybody is the default tenant."""

    def __init__(self, keys: Keys, *, is_open: bool) -> None:
        self._keys = keys
        self._open = is_open
        self._known: dict[str, tuple[float, Principal]] = {}

    async def principal(self, authorization: str | None) -> Principal:
        """Who sent this `Authorization` header.

        Raises:
            Unauthorized: nobody we know.
            StoreAway: keys cannot be looked up now.
        """
        if self._open:
            return LOCAL
        kind, _, secret = (authorization or "").partition(" ")
        secret = secret.strip()
        if kind.lower() != "bearer" or not secret:
            raise Unauthorized("no API key was sent; send the header Authorization: Bearer dw_...")
        if not looks_like_key(secret):
            raise Unauthorized(
                "this is no API key of this server; create one: deltaworks keys create"
            )
        found = await self._found(digest_of(secret))
        if found is None:
            raise Unauthorized(
                "this API key is unknown, revoked or expired; use one that stands, or create one: "
                "deltaworks keys create"
            )
        return found

    async def _found(self, digest: str) -> Principal | None:
        known = self._known.get(digest)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        key = await self._keys.standing(digest)
        self._known.pop(digest, None)
        # The database found it by its index, whose comparison takes no constant time; of a digest
        # that tells nothing. This one does.
        if key is None or not hmac.compare_digest(key.digest, digest):
            return None
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        principal = Principal(
            key.tenant,
            key.id,
            frozenset(key.scopes),
            None if key.models is None else tuple(key.models),
            key.requests_per_minute,
        )
        self._known[digest] = (time.monotonic() + TRUSTED_S, principal)
        return principal
