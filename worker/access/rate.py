"""How many requests a minute a key has, counted over all gateways in Redis."""

import logging
import math
from importlib.resources import files

from redis.asyncio import Redis
from redis.exceptions import RedisError

from worker.access.access import Principal
from worker.errors import Throttled
from worker.pipeline import Pipeline, Script

logger = logging.getLogger(__name__)

MICROSECONDS = 1e6
# What may come at once: this part of a minute's worth, one request at least.
BURST_SHARE = 1 / 6


class Rate:
    """Counts requests by key. Without Redis nobody is held back: it is there to be fair."""

    def __init__(self, redis: Redis) -> None:
        source = files("worker.access").joinpath("rate.lua").read_bytes()
        self._script = Script(Pipeline(redis), source)

    async def spend(self, principal: Principal) -> None:
        """Count one request of this key.

        Raises:
            Throttled: it comes too early.
        """
        per_minute = principal.requests_per_minute
        if per_minute is None or principal.key_id is None:
            return
        burst = max(1, math.floor(per_minute * BURST_SHARE))
        key = f"deltaworks:rate:{{{principal.key_id}}}"
        try:
            (wait,) = await self._script.run([key], [60 * MICROSECONDS / per_minute, burst])
        except (RedisError, OSError) as error:
            logger.warning("requests are not counted: %s", type(error).__name__)
            return
        if wait > 0:
            raise Throttled(
                f"this key has {per_minute} requests a minute; wait, or raise its limit",
                wait / MICROSECONDS,
            )
