"""Limits in the upstreams file: read where they stand, refused with a sentence."""

from pathlib import Path

import pytest

from worker.catalog import UNLIMITED, Catalog, RateLimits, configured
from worker.errors import ConfigurationError

UPSTREAM = """
[[upstream]]
name = "up"
base_url = "http://up/v1"
models = ["gpt-4o*", "o3"]
"""


def read(tmp_path: Path, more: str) -> Catalog:
    file = tmp_path / "upstreams.toml"
    file.write_text(UPSTREAM + more)
    catalog = configured(file)
    assert catalog is not None
    return catalog


def test_an_upstream_has_limits_of_its_own_and_of_each_model(tmp_path: Path) -> None:
    more = """
requests_per_minute = 6000
max_streams = 50
interactive_share = 0.2
[upstream.model."gpt-4o-mini"]
tokens_per_minute = 1e6
[upstream.model."gpt-4o*"]
requests_per_minute = 500
"""
    (upstream,) = read(tmp_path, more).upstreams
    assert (upstream.requests_per_minute, upstream.max_streams) == (6000, 50)
    assert upstream.interactive_share == 0.2
    assert upstream.model_limits("gpt-4o-mini") == RateLimits(tokens_per_minute=1e6)
    assert upstream.model_limits("gpt-4o") == RateLimits(requests_per_minute=500)
    assert upstream.model_limits("o3") == UNLIMITED


def test_without_any_nothing_is_limited_and_a_tenth_is_reserved(tmp_path: Path) -> None:
    (upstream,) = read(tmp_path, "").upstreams
    assert upstream.requests_per_minute is None
    assert upstream.interactive_share == 0.1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("requests_per_minute = 0", ("up", "requests_per_minute = 0", "above 0")),
        ("tokens_per_minute = -5", ("up", "tokens_per_minute = -5", "above 0")),
        ("tokens_per_minute = inf", ("up", "tokens_per_minute = inf", "leave it out")),
        ("requests_per_minute = nan", ("up", "requests_per_minute = nan")),
        ("max_streams = 0", ("up", "max_streams = 0", "above 0")),
        ("interactive_share = 1", ("up", "interactive_share = 1", "0 to 0.9")),
        ("interactive_share = -0.1", ("up", "interactive_share = -0.1", "0 to 0.9")),
        ('[upstream.model."o3"]\nmax_streams = -1', ("up", "'o3'", "max_streams = -1")),
        ('[upstream.model."o4"]\nmax_streams = 1', ("up", "'o4'", "add it to models")),
        ('[upstream.model."o3"]\nmax_stream = 1', ("max_stream",)),
    ],
)
def test_a_limit_that_cannot_be_is_refused(
    tmp_path: Path, more: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, more)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("pattern", ["gpt-[45]*", "gpt-?o", "[go]*"])
def test_a_pattern_of_any_kind_may_have_limits_and_prices_that_models_does_not_name(
    tmp_path: Path, pattern: str
) -> None:
    more = f"""
[upstream.model."{pattern}"]
max_streams = 5
[upstream.prices."{pattern}"]
input = 1
output = 2
"""
    (upstream,) = read(tmp_path, more).upstreams
    assert upstream.model_limits("gpt-4o").max_streams == 5
    assert upstream.price("gpt-4o") is not None
