"""The models an upstream lists: what servers leave out, or null, is filled in."""

import asyncio

import httpx
import pytest

from worker import catalog
from worker.upstream.models import UNKNOWN_AGE, Models, ask_for_models

LISTED = """{"object": "list", "data": [
    {"id": "sim", "object": "model", "created": 1735689600, "owned_by": "somebody"},
    {"id": "sim-null", "created": null, "owned_by": null},
    {"id": "sim-float", "created": 1735689600.5},
    {"id": "sim-bare"}
]}"""


async def test_what_a_server_does_not_say_of_a_model_is_filled_in() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=LISTED))
    async with httpx.AsyncClient(transport=transport) as http:
        models = await Models(catalog.simulated("http://upstream/v1"), http).all()
    assert [(model.id, model.object, model.created) for model in models] == [
        ("sim", "model", 1735689600),
        ("sim-null", "model", UNKNOWN_AGE),
        ("sim-float", "model", 1735689600),
        ("sim-bare", "model", UNKNOWN_AGE),
    ]
    assert [model.owned_by for model in models] == ["somebody", *["simulator"] * 3]


async def test_who_does_not_answer_in_time_is_waited_for_no_longer() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    (upstream,) = catalog.simulated("http://upstream/v1").upstreams
    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as http:
        with pytest.raises(httpx.ReadTimeout, match=r"no answer within 0\.05 s"):
            await ask_for_models(upstream, http, patience_s=0.05)
