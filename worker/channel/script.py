"""Running the script that writes the logs, on a connection of its own.

redis-py's way to a command costs more than the script: it packs in Python, starts a task to time
each write, and asks its pool before and after. All publishing of a process passes here, so it
keeps one connection of the pool and packs with hiredis.
"""

import asyncio
from collections.abc import Sequence
from importlib.resources import files

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

# How long a call may take, the connection's opening included.
TIMEOUT_S = 5.0

_SCRIPT = files("worker.channel").joinpath("append.lua").read_bytes()

Argument = str | bytes | int


class Script:
    """`append.lua`, loaded where it is missing. Calls are made one after the other."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._turn = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._sha: str | None = None

    async def run(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Sequence[int]:
        """The script's answer for each key.

        Raises:
            RedisError: nothing is known of what it did. It may be run again with the same
                arguments: it recognises them.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return await self._run(keys, arguments)
            except TimeoutError:
                raise RedisTimeoutError("Redis did not answer the script") from None

    async def _run(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Sequence[int]:
        if self._sha is None:
            self._sha = str(await self._redis.script_load(_SCRIPT))
        words = ("EVALSHA", self._sha, len(keys), *keys, *arguments)
        call = hiredis.pack_command(words)  # type: ignore[arg-type] # its stub says one word
        try:
            return await self._send(call)
        except NoScriptError:
            self._sha = None
            return await self._run(keys, arguments)

    async def _send(self, call: bytes) -> Sequence[int]:
        connection = self._connection
        if connection is None:
            # Never given back: the pool closes it at the end like all others.
            connection = await self._redis.connection_pool.get_connection()
            # Each of its waits would cost a timer or a task; `run` has one for all.
            connection.socket_timeout = None
            self._connection = connection
        elif connection.is_connected:
            try:
                return await _exchange(connection, call)
            except RedisConnectionError:
                pass  # Redis was restarted since the last call
        return await _exchange(connection, call)


async def _exchange(connection: AbstractConnection, call: bytes) -> Sequence[int]:
    await connection.send_packed_command(call, check_health=False)
    codes: Sequence[int] = await connection.read_response()
    return codes
