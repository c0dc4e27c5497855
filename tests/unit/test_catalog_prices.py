"""Prices in the upstreams file: by the first pattern that fits, refused with a sentence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.catalog import Catalog, Price, Upstream, configured
from worker.errors import ConfigurationError

UPSTREAM = """
[[upstream]]
name = "up"
base_url = "http://up/v1"
models = ["gpt-4o*", "o3"]
"""
PRICE = Price(input=2, cached_input=1, output=8)


def read(tmp_path: Path, more: str) -> Catalog:
    file = tmp_path / "upstreams.toml"
    file.write_text(UPSTREAM + more)
    catalog = configured(file)
    assert catalog is not None
    return catalog


def one(model: str, price: str) -> str:
    return f'[upstream.prices."{model}"]\n{price}\n'


def test_of_several_patterns_that_fit_the_first_counts(tmp_path: Path) -> None:
    mini = one("gpt-4o-mini", "input = 0.15\ncached_input = 0.075\noutput = 0.6")
    more = mini + one("gpt-4o*", "input = 2.5\noutput = 10") + one("gpt-*", "input = 9\noutput = 9")
    (upstream,) = read(tmp_path, more).upstreams
    assert upstream.price("gpt-4o-mini") == Price(input=0.15, cached_input=0.075, output=0.6)
    assert upstream.price("gpt-4o") == Price(input=2.5, output=10)
    assert upstream.price("o3") is None


def test_without_any_nothing_has_a_price() -> None:
    assert Upstream(name="up", base_url="http://up/v1").price("m") is None


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ("input = -1\noutput = 1", ("up", "'o3'", "input = -1", "use 0 to")),
        ("input = 1\noutput = inf", ("up", "'o3'", "output = inf", "use 0 to")),
        ("input = nan\noutput = 1", ("up", "'o3'", "input = nan", "use 0 to")),
        ("input = 1\noutput = 1e12", ("up", "'o3'", "output = 1e+12", "use 0 to")),
        ("input = 1\ncached_input = -2\noutput = 1", ("up", "'o3'", "cached_input = -2")),
        ('input = "2.50 USD"\noutput = 1', ("'up'", "'o3'", "input = '2.50 USD'", "without")),
        ("input = 1\noutput = true", ("'up'", "'o3'", "output = 'True'", "is no number")),
        ("input = [1]\noutput = 1", ("'up'", "'o3'", "input = '[1]'", "is no number")),
        (f"input = 1{'0' * 400}\noutput = 1", ("input",)),
        ("input = 1", ("output",)),
        ("input = 1\noutput = 1\ncached = 1", ("cached",)),
    ],
)
def test_a_price_that_cannot_be_is_refused_by_its_name(
    tmp_path: Path, price: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path, one("o3", price))
    for word in ("upstreams.toml", *words):
        assert word in str(refused.value)


@pytest.mark.parametrize("prices", ["prices = 3", 'prices = {o3 = "free"}'])
def test_prices_that_are_no_tables_are_refused(tmp_path: Path, prices: str) -> None:
    with pytest.raises(ConfigurationError, match="prices"):
        read(tmp_path, prices)


def test_a_price_of_a_model_that_is_not_served_is_a_slip(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"prices.'o4' has a price, .* add it to models"):
        read(tmp_path, one("o4", "input = 1\noutput = 1"))


def test_a_price_of_nothing_is_a_price(tmp_path: Path) -> None:
    (upstream,) = read(tmp_path, one("*", "input = 0\noutput = 0")).upstreams
    price = upstream.price("o3")
    assert price is not None
    assert price.of({"prompt_tokens": 1_000, "completion_tokens": 1_000}) == 0


def test_a_million_tokens_cost_the_price_and_cached_ones_their_own() -> None:
    usage = {"prompt_tokens": 3_000_000, "completion_tokens": 500_000}
    assert PRICE.of(usage) == 3 * 2 + 0.5 * 8
    cached = usage | {"prompt_tokens_details": {"cached_tokens": 1_000_000}}
    assert PRICE.of(cached) == 2 * 2 + 1 * 1 + 0.5 * 8
    assert Price(input=2, output=8).of(cached) == PRICE.of(usage)
    assert Price(input=2, cached_input=0, output=8).of(cached) == 2 * 2 + 0.5 * 8


@pytest.mark.parametrize("garbage", [-1, True, 1.5, "7", None, [], 10**12])
def test_a_count_that_can_be_none_is_ignored(garbage: object) -> None:
    known = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}
    asked = known | {"prompt_tokens": garbage}
    assert PRICE.of(asked, prompt=2_000_000, output=7) == 2 * 2 + 8
    assert PRICE.of(known | {"completion_tokens": garbage}, output=2_000_000) == 2 + 2 * 8
    cached = known | {"prompt_tokens_details": {"cached_tokens": garbage}}
    assert PRICE.of(cached) == PRICE.of(known | {"prompt_tokens_details": garbage}) == 2 + 8


def test_more_cached_than_there_was_is_no_count() -> None:
    usage = {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}}
    assert PRICE.of(usage) == PRICE.of({"prompt_tokens": 10})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
NAMES = st.sampled_from(["prompt_tokens", "completion_tokens", "prompt_tokens_details"])


@given(usage=st.dictionaries(NAMES, JSON | st.fixed_dictionaries({"cached_tokens": JSON})))
def test_whatever_an_upstream_tells_comes_to_a_sum(usage: dict[str, object]) -> None:
    assert 0 <= PRICE.of(usage, prompt=5, output=5) < float("inf")
