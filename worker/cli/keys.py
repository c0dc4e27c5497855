"""`deltaworks keys`: making, listing and revoking API keys."""

import asyncio
import re
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from models import ApiKey
from worker.access import Scope, digest_of, new_key
from worker.cli.screen import print_json
from worker.cli.tables import joined, print_rows
from worker.errors import InvalidRequest
from worker.logs import log_as_command
from worker.runtime import open_client_runtime
from worker.text import moment

TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# A hundred years: what is longer is a slip.
MOST_DAYS = 36_500
COLUMNS = ("id", "name", "tenant", "ends in", "scopes", "models", "a minute", "created", "state")


class Wish(Struct, frozen=True, kw_only=True):
    """What a key is to be good for; None is everything."""

    name: str
    tenant: str
    scopes: Sequence[str] | None
    models: Sequence[str] | None
    per_minute: int | None
    days: float | None


def create(wish: Wish, *, json: bool) -> int:
    """Make a key and print it; the exit code.

    Raises:
        InvalidRequest: names the option at fault.
    """
    log_as_command()
    secret = new_key()
    key = _key(wish, secret)
    asyncio.run(_add(key))
    if json:
        print_json(_document(key) | {"key": secret})
    else:
        sys.stdout.write(f"{secret}\n")
        sys.stderr.write(f"{key.id}: keep it, it is not shown again\n")
    return 0


def show(*, json: bool) -> int:
    """Print every key; the exit code."""
    log_as_command()
    found = asyncio.run(_all())
    if json:
        print_json([_document(key) for key in found])
    else:
        rows = [_row(key) for key in found]
        print_rows(COLUMNS, rows, joined(rows))
    return 0


def revoke(id: str, *, json: bool) -> int:
    """Revoke the key; the exit code.

    Raises:
        InvalidRequest: there is none.
    """
    log_as_command()
    if not asyncio.run(_revoke(id)):
        raise InvalidRequest("KEY", f"{id[:40]!r} is unknown", "see deltaworks keys list")
    if json:
        print_json({"id": id, "revoked": True})
    else:
        sys.stdout.write(f"{id} is revoked\n")
    return 0


def _key(wish: Wish, secret: str) -> ApiKey:
    if not TENANT.fullmatch(wish.tenant):
        raise InvalidRequest(
            "--tenant", f"is {wish.tenant[:40]!r}", "use 1 to 64 letters, digits, _ . -"
        )
    for scope in wish.scopes or ():
        if scope not in set(Scope):
            raise InvalidRequest("--scope", f"is {scope[:40]!r}", f"use {' or '.join(Scope)}")
    if wish.days is not None and not 0 < wish.days <= MOST_DAYS:
        remedy = f"give a number above 0 and at most {MOST_DAYS:,}, or leave it out"
        raise InvalidRequest("--days", f"is {wish.days:g}", remedy)
    now = datetime.now(UTC)
    return ApiKey(
        id=f"key_{secrets.token_hex(8)}",
        digest=digest_of(secret),
        tenant=wish.tenant,
        name=wish.name[:255],
        last4=secret[-4:],
        scopes=sorted(wish.scopes or list(Scope)),
        models=list(wish.models) if wish.models else None,
        requests_per_minute=wish.per_minute,
        created_at=now,
        expires_at=None if wish.days is None else now + timedelta(days=wish.days),
    )


async def _add(key: ApiKey) -> None:
    async with open_client_runtime() as client:
        await client.store.keys.add(key)


async def _all() -> Sequence[ApiKey]:
    async with open_client_runtime() as client:
        return await client.store.keys.all()


async def _revoke(id: str) -> bool:
    async with open_client_runtime() as client:
        return await client.store.keys.revoke(id)


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    over = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
    return "expired" if over else "stands"


def _document(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "object": "key",
        "name": key.name,
        "tenant": key.tenant,
        "last4": key.last4,
        "scopes": key.scopes,
        "models": key.models,
        "requests_per_minute": key.requests_per_minute,
        "created_at": moment(key.created_at),
        "expires_at": moment(key.expires_at),
        "revoked_at": moment(key.revoked_at),
        "state": _state(key),
    }


def _row(key: ApiKey) -> list[str]:
    return [
        key.id,
        key.name,
        key.tenant,
        key.last4,
        " ".join(key.scopes),
        " ".join(key.models or ()),
        str(key.requests_per_minute or ""),
        moment(key.created_at.replace(microsecond=0)),
        _state(key),
    ]
