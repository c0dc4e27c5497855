"""Whatever the error, the job and the user's file: a decision, or one refusal of the file."""

import math

from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Category, ConfigurationError, UpstreamError
from worker.policy import Budgets, Decision, Fail, Policy, Retry, Suspend, Why, decide, explain
from worker.policy.decision import LONGEST_SPREAD_S
from worker.policy.row import FIELDS, LONGEST_S
from worker.policy.table import parse

CODES = ["slow_down", "1300", "Arrearage", "", " ", "code"]
WAITS_S = st.none() | st.floats() | st.floats(0, 1e6) | st.sampled_from([86_400.0, 5e-324])
ERRORS = st.builds(
    UpstreamError,
    st.sampled_from(Category),
    code=st.none() | st.sampled_from(CODES) | st.text(),
    retry_after_s=WAITS_S,
    should_retry=st.none() | st.booleans(),
)
BUDGETS = st.builds(
    Budgets,
    failures=st.integers(0, 8) | st.integers(0, 2**31),
    throttles=st.integers(0, 25) | st.integers(0, 2**31),
)
LANES = st.sampled_from(["interactive", "bulk"])
LEFT_S = st.floats() | st.floats(-10, 1e5)

# Files that may be right: each field has one kind of value, and a category most of its fields.
PAUSES = st.floats(0.01, LONGEST_S).map(repr)
KINDS = {
    "action": st.sampled_from(['"retry"', '"suspend"', '"fail"']),
    "counts": st.sampled_from(['"failures"', '"throttles"', '"nothing"']),
    "cool_down": st.sampled_from(['"none"', '"model"', '"key"']),
    **dict.fromkeys(
        ("at_once", "bulk_unlimited", "fallback", "until_named"), st.sampled_from(["true", "false"])
    ),
    **dict.fromkeys(("most", "budget_cost", "cool_down_errors"), st.integers(0, 1000).map(str)),
}
TERMS = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: KINDS.get(name, PAUSES).map(lambda value: f"{name} = {value}")
)
TABLES = st.dictionaries(
    st.builds(
        "{}{}".format, st.sampled_from(Category), st.sampled_from(["", "", ".code.slow_down"])
    ),
    st.lists(TERMS, max_size=3, unique_by=lambda term: term.partition(" ")[0]).map("\n".join),
    max_size=4,
)
FILES = TABLES.map(
    lambda tables: "\n".join(f"[{header}]\n{terms}" for header, terms in tables.items())
)
ANYTHING = st.sampled_from(
    ["nan", "inf", "-1", "1e400", "[]", "{}", '""', "true", "1979-05-27", "0x" + "f" * 4_000]
)
ODD_TERMS = st.builds("{} = {}".format, st.sampled_from([*FIELDS, "code", "x"]), ANYTHING)
HEADERS = st.builds(
    "[{}{}]".format,
    st.sampled_from([*Category, "x"]),
    st.sampled_from(["", "", ".code.slow_down", '.code."1300"', ".code.Slow_Down", ".x", ".code"]),
)
ODD_FILES = st.lists(HEADERS | TERMS | ODD_TERMS | st.text(), max_size=8).map("\n".join)


def policy_of(text: str) -> Policy | None:
    """The policy of a user's file; None where it is refused, which takes one error."""
    try:
        return parse(text, "mine.toml")
    except ConfigurationError as error:
        assert all(line.startswith("mine.toml") for line in str(error).splitlines())
        return None


def assert_sound(
    decision: Decision, error: UpstreamError, budgets: Budgets, lane: str, left_s: float
) -> None:
    row = decision.row
    match decision:
        case Retry(wait_s=wait_s):
            named = error.retry_after_s if error.retry_after_s and error.retry_after_s > 0 else None
            assert 0 <= wait_s < left_s
            assert wait_s >= (named or 0)
            assert wait_s <= (row.cap_s if named is None else named + LONGEST_SPREAD_S)
            assert wait_s <= row.longest_wait_s + LONGEST_SPREAD_S or named is None
            charged, limit = budgets.charged(row), row.limit(lane)
            assert limit is None or charged is None or charged < limit
            assert error.should_retry is not False
        case Suspend(for_s=for_s):
            assert for_s is None or 0 < for_s <= LONGEST_S
        case Fail(why=why):
            assert isinstance(why, Why)


@given(ERRORS, BUDGETS, LANES, LEFT_S, st.data())
def test_any_error_has_a_decision_within_all_bounds(
    error: UpstreamError, budgets: Budgets, lane: str, left_s: float, data: st.DataObject
) -> None:
    def draw(low: float, high: float) -> float:
        assert 0 <= low <= high < math.inf
        return data.draw(st.floats(low, high))

    decision = decide(Policy.packaged(), error, budgets, lane, left_s, random=draw)
    assert_sound(decision, error, budgets, lane, left_s)


@given(FILES, ERRORS, BUDGETS, LANES, LEFT_S)
def test_any_policy_that_is_accepted_decides_within_its_own_bounds(
    text: str, error: UpstreamError, budgets: Budgets, lane: str, left_s: float
) -> None:
    policy = policy_of(text)
    if policy is None:
        return
    for end in (min, max):
        decision = decide(policy, error, budgets, lane, left_s, random=end)
        assert_sound(decision, error, budgets, lane, left_s)
    if error.category in (Category.BAD_REQUEST, Category.CONTENT_FILTER):
        assert not decision.fallback


@given(FILES | ODD_FILES | st.text())
def test_any_text_is_a_policy_or_one_refusal(text: str) -> None:
    policy = policy_of(text)
    if policy is not None:
        assert {category for category, code in policy.rows if code is None} == set(Category)


@given(ERRORS, BUDGETS, LANES)
def test_any_decision_can_be_explained(error: UpstreamError, budgets: Budgets, lane: str) -> None:
    explanation = explain(Policy.packaged(), error, budgets, lane)
    assert all(explanation.sentences())
    assert explanation.document()["category"] == error.category.value
