"""However many models and codes there are in the world, labels have few values."""

import re
from pathlib import Path

import pytest

from worker.catalog import Catalog, Upstream
from worker.limiter import Reason
from worker.metrics import limiting
from worker.metrics.bounds import CODES, Bounds, category

WORKER = Path(__file__).parents[2] / "worker"


@pytest.fixture
def bounds() -> Bounds:
    bounds = Bounds()
    first = Upstream(name="first", base_url="https://a/v1", models=("gpt-4o*", "o3", "*"))
    second = Upstream(name="second", base_url="https://a/v1", models=("llama",))
    bounds.know(Catalog((first, second)))
    return bounds


def test_a_model_is_named_as_in_the_configuration_or_not_at_all(bounds: Bounds) -> None:
    named = [bounds.model(each) for each in ("o3", "gpt-4o-mini", "llama", "*", "sk-secret", "")]

    assert named == ["o3", "gpt-4o*", "llama", "other", "other", "other"]


def test_an_upstream_is_a_configured_one_or_another(bounds: Bounds) -> None:
    assert [bounds.upstream(each) for each in ("second", "gone", None)] == [
        "second", "other", "other",
    ]  # fmt: skip
    assert bounds.upstream_at("https://a/v1") == "first"
    assert bounds.upstream_at("https://b/v1") == "other"
    assert Bounds().model("o3") == Bounds().upstream("first") == "other"


def test_a_code_is_one_of_the_tables_or_another(bounds: Bounds) -> None:
    codes = ["rate_limit_exceeded", "RateLimitError", "Throttling.User", "503", "dns_failure", None]

    assert [bounds.code(each) for each in codes] == [
        "rate_limit_exceeded", "rate_limit", "throttling", "503", "dns_failure", "none",
    ]  # fmt: skip
    for made_up in ("my prompt was 'hello'", "job_1", "5030", "x" * 999, "٥٠٣"):
        assert bounds.code(made_up) == "other"
    assert [category(each) for each in ("server", None, "made-up")] == ["server", "none", "other"]


def test_the_codes_of_our_own_are_all_there() -> None:
    rows = (WORKER / "classify/transport.py").read_text()
    codes = set(re.findall(r'_Row\(\s*Category\.\w+,\s*"(\w+)"', rows))
    phases = re.findall(r'_enter\("(\w+)"', (WORKER / "upstream/patience.py").read_text())

    assert len(codes) > 10 and len(phases) > 2
    assert codes | {f"{phase}_timeout" for phase in phases} <= CODES


def test_the_limiters_word_for_a_cool_down_is_known() -> None:
    assert Reason.COOLING.value == limiting.COOLING
    assert {limiting.GRANTED, limiting.PACE}.isdisjoint(Reason)
