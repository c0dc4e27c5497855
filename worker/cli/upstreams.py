"""`deltaworks upstreams`: where requests go, what stands against it, and lifting that."""

import asyncio
import sys
from collections.abc import Sequence

from models import Suspension
from worker.catalog import ANY_MODEL, Upstream
from worker.cli.screen import print_json
from worker.cli.tables import joined, print_rows
from worker.errors import ConfigurationError
from worker.limiter import Limiter, Scope, State
from worker.logs import log_as_command
from worker.runtime import Client, open_client_runtime

COLUMNS = ("upstream", "address", "models", "state", "open streams", "learned limits")


def show(*, json: bool) -> int:
    """Print each upstream with its suspensions and the limiter's picture; the exit code."""
    log_as_command()
    found = asyncio.run(_look())
    if json:
        print_json([_document(*each) for each in found])
    else:
        rows = [_row(*each) for each in found]
        print_rows(COLUMNS, rows, joined(rows))
    return 0


def resume(name: str, *, json: bool) -> int:
    """Lift all suspensions of the upstream; the exit code.

    Raises:
        ConfigurationError: no upstream has this name.
    """
    log_as_command()
    lifted = asyncio.run(_lift(name))
    if json:
        print_json({"upstream": name, "lifted": lifted})
    else:
        said = f"{name} is resumed: {lifted} suspensions lifted" if lifted else f"{name} was free"
        sys.stdout.write(f"{said}\n")
    return 0


Found = tuple[Upstream, Sequence[Suspension], State | None]


async def _look() -> list[Found]:
    async with open_client_runtime() as client:
        standing = await client.store.suspensions.standing()
        limiter = Limiter(client.redis, client.owner, lease_s=30, renew_s=10)
        return [await _found(upstream, standing, limiter) for upstream in client.catalog.upstreams]


async def _found(upstream: Upstream, standing: Sequence[Suspension], limiter: Limiter) -> Found:
    try:
        key = upstream.key_fingerprint()
    except ConfigurationError:
        return upstream, (), None
    account = (upstream.base_url, key)
    against = [each for each in standing if (each.base_url, each.key_fingerprint) == account]
    return upstream, against, await limiter.state(Scope(*account, ANY_MODEL))


async def _lift(name: str) -> int:
    async with open_client_runtime() as client:
        _require(client, name)
        return await client.store.suspensions.lift(name)


def _require(client: Client, name: str) -> None:
    names = [upstream.name for upstream in client.catalog.upstreams]
    if name not in names:
        raise ConfigurationError(f"no upstream is named {name!r}; use one of {', '.join(names)}")


def _row(upstream: Upstream, against: Sequence[Suspension], state: State | None) -> tuple[str, ...]:
    return (
        upstream.name,
        upstream.base_url,
        " ".join(upstream.models),
        "; ".join(_sentence(each) for each in against) or _pace(state),
        str(state.open_streams) if state else "",
        _learned(state),
    )


def _sentence(suspension: Suspension) -> str:
    whose = "all models" if suspension.model == ANY_MODEL else suspension.model
    until = f"{suspension.until.astimezone():%Y-%m-%d %H:%M:%S}"
    why = "/".join(word for word in (suspension.category, suspension.code) if word)
    return f"suspended for {whose} until {until}: {why}: {suspension.message or ''}"


def _pace(state: State | None) -> str:
    if state is None:
        return "unknown"
    if state.cooling_s > 0:
        return f"cooling down for {state.cooling_s:.0f} s"
    return "starting slowly" if state.slow_start else "free"


def _learned(state: State | None) -> str:
    if state is None:
        return ""
    learned = (
        (state.learned_requests_per_minute, "requests/min"),
        (state.learned_tokens_per_minute, "tokens/min"),
    )
    return ", ".join(f"{limit:g} {unit}" for limit, unit in learned if limit is not None)


def _document(
    upstream: Upstream, against: Sequence[Suspension], state: State | None
) -> dict[str, object]:
    return {
        "name": upstream.name,
        "base_url": upstream.base_url,
        "models": upstream.models,
        "state": "suspended" if against else _pace(state),
        "open_streams": state.open_streams if state else None,
        "suspensions": [
            {
                "model": each.model,
                "category": each.category,
                "code": each.code,
                "status": each.status,
                "message": each.message,
                "since": each.since,
                "until": each.until,
            }
            for each in against
        ],
    }
