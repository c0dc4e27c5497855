"""The model of a request that names none: never a pattern, and only one that there is."""

import json

import pytest

from tests.upstream_server import Answer, saying, serving
from worker.catalog import Catalog, Upstream
from worker.cli.default_model import default_model
from worker.errors import InvalidRequest
from worker.settings import Settings


def listing(*models: str) -> Answer:
    """What an upstream with these models answers to `GET /models`."""
    body = json.dumps({"object": "list", "data": [{"id": model} for model in models]}).encode()
    return saying(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


async def chosen(answer: Answer, *patterns: str) -> str:
    """The default where an upstream, and one more, are configured for these models."""
    async with serving(answer) as server:
        address = f"http://127.0.0.1:{server.port}/v1"
        first = Upstream(name="first", base_url=address, models=patterns)
        second = Upstream(name="second", base_url="http://127.0.0.1:9/v1", models=patterns)
        return await default_model(Catalog((first, second)), Settings(model=None))


@pytest.mark.parametrize("pattern", ["gpt-4o*", "gpt-?o", "gpt-[4]o", "*o"])
async def test_where_only_a_pattern_is_named_the_one_listed_model_that_fits_is_asked_for(
    pattern: str,
) -> None:
    assert await chosen(listing("gpt-4o", "embedding"), pattern) == "gpt-4o"


async def test_of_several_models_that_fit_a_pattern_the_error_names_each_and_no_pattern() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await chosen(listing("gpt-4o", "gpt-4o-mini", "o3"), "gpt-4o*")
    assert caught.value.remedy == ("name one, such as gpt-4o, gpt-4o-mini, or set DELTAWORKS_MODEL")


async def test_the_one_model_that_is_named_beside_patterns_is_asked_for() -> None:
    assert await chosen(listing("gpt-4o", "o3"), "gpt-4o*", "o3") == "o3"


async def test_where_a_pattern_is_named_and_nothing_listed_a_name_is_wanted() -> None:
    with pytest.raises(InvalidRequest, match="name the model, or set DELTAWORKS_MODEL"):
        await chosen(saying(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"), "gpt-4o*")
