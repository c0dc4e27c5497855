"""The network between a worker and each of the others is silent for longer than a lease."""

import asyncio
from contextlib import AsyncExitStack

from tests.faults.scene import LEASE_S, Scene
from tests.proxy import Proxy

LONG = "sim?tokens=150&rate=50&vary=1"
OTHERS = (
    "DELTAWORKS_REDIS_URL",
    "DELTAWORKS_BROKER_URL",
    "DELTAWORKS_DATABASE_URL",
    "OPENAI_BASE_URL",
)


async def test_a_silent_network_costs_time_and_no_job(on_postgres: Scene) -> None:
    scene = on_postgres
    urls = {name: scene.stack.env[name] for name in OTHERS}
    async with AsyncExitStack() as stack:
        proxies = {name: await stack.enter_async_context(Proxy(url)) for name, url in urls.items()}
        behind = {name: proxy.url for name, proxy in proxies.items()}
        await scene.employ(1, **behind, DELTAWORKS_TOKEN_GAP_TIMEOUT_S="1.5")
        load = await stack.enter_async_context(scene.load())
        await load.submit(6, LONG)
        await load.running(6)
        await scene.employ(1)
        for name in scene.random.sample(OTHERS, len(OTHERS)):
            await load.submit(6, LONG)
            with scene.injury():
                proxies[name].hold()
                await asyncio.sleep(1.2 * LEASE_S)
                proxies[name].release()
        scene.let_time_pass(60)
        await load.open_at_most(0)
        scene.workers[0].kill()  # before the proxies go
