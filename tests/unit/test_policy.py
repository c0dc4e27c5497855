"""The packaged policy covers every error, and a user's file changes what it names, no more."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from worker.classify import TRANSIENT, classify_response
from worker.errors import Category, UpstreamError
from worker.policy import Budgets, Fail, Policy, Retry, Suspend, decide
from worker.policy.checks import faults

FIXTURES = Path(__file__).parent.parent / "fixtures"
RESPONSES = json.loads((FIXTURES / "error_fixtures.json").read_text())["cases"]
SUSPENDING = {Category.BILLING, Category.AUTH, Category.QUOTA_PERIOD}


def with_file(tmp_path: Path, text: str) -> Policy:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return Policy.load(file)


@pytest.mark.parametrize("category", Category)
def test_every_category_has_exactly_one_row(category: Category) -> None:
    rows = [row for row in Policy.packaged().rows.values() if row.category is category]
    assert [row.code for row in rows] == [None]


def test_what_is_retried_is_what_the_classifier_calls_transient() -> None:
    retried = {row.category for row in Policy.packaged().rows.values() if row.action == "retry"}
    assert retried == TRANSIENT


def test_the_packaged_rows_have_no_terms_that_clash() -> None:
    for row in Policy.packaged().rows.values():
        assert list(faults(row)) == []


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: str(case["id"]))
def test_a_known_error_response_is_retried_suspends_or_fails(case: dict[str, Any]) -> None:
    error = classify_response(case["status"], case["headers"], case["body"].encode())
    decision = decide(
        Policy.packaged(), error, Budgets(0, 0), "interactive", math.inf, random=lambda low, _: low
    )
    expected = case["expect"]
    if expected["retryable"]:
        assert isinstance(decision, Retry)
        assert decision.wait_s == (expected["wait_s"] or 0)
    elif Category(expected["category"]) in SUSPENDING:
        assert isinstance(decision, Suspend)
    else:
        assert isinstance(decision, Fail)


def test_a_users_file_changes_the_fields_it_names_and_no_other(tmp_path: Path) -> None:
    policy = with_file(tmp_path, "[timeout]\nmost = 1\n")
    packaged = Policy.packaged().rows[Category.TIMEOUT, None]
    changed = policy.rows[Category.TIMEOUT, None]
    assert changed.terms() == {**packaged.terms(), "most": 1}
    others = {key: row for key, row in policy.rows.items() if key != (Category.TIMEOUT, None)}
    assert others.items() <= Policy.packaged().rows.items()


def test_a_row_for_a_code_inherits_from_its_categorys_row_and_the_users_change_of_it(
    tmp_path: Path,
) -> None:
    policy = with_file(
        tmp_path, "[rate_limit]\ncap_s = 90\n\n[rate_limit.code.slow_down]\nbase_s = 30.0\n"
    )
    row = policy.row_for(UpstreamError(Category.RATE_LIMIT, "slow_down"))
    assert (row.base_s, row.cap_s, row.counts) == (30.0, 90.0, "throttles")
    assert policy.row_for(UpstreamError(Category.RATE_LIMIT, "other")).base_s == 1.0
    assert policy.row_for(UpstreamError(Category.RATE_LIMIT)).code is None


def test_a_code_has_a_row_in_its_own_category_only(tmp_path: Path) -> None:
    policy = with_file(tmp_path, "[billing.code.slow_down]\nsuspend_s = 60\n")
    assert policy.row_for(UpstreamError(Category.RATE_LIMIT, "slow_down")).code is None


def test_codes_are_compared_without_case(tmp_path: Path) -> None:
    policy = with_file(tmp_path, "[billing.code.Arrearage]\nsuspend_s = 60\n")
    assert policy.row_for(UpstreamError(Category.BILLING, "ARREARAGE")).suspend_s == 60


def test_a_row_tells_where_each_of_its_terms_is_written(tmp_path: Path) -> None:
    policy = with_file(
        tmp_path,
        '# comment\n[rate_limit]\ncap_s = 90\n[rate_limit.code."1300"]\n\nbase_s = 30.0\n',
    )
    row = policy.row_for(UpstreamError(Category.RATE_LIMIT, "1300"))
    mine = str(tmp_path / "mine.toml")
    assert str(row.origin) == f"{mine}, line 4"
    assert row.origin.table == ("rate_limit", "code", "1300")
    assert str(row.sources["base_s"]) == f"{mine}, line 6"
    assert str(row.sources["cap_s"]) == f"{mine}, line 3"
    assert row.sources["most"].file is None
    assert row.sources["most"].line is not None


def test_a_line_is_found_in_any_spelling_of_a_table(tmp_path: Path) -> None:
    policy = with_file(
        tmp_path, 'server.most = 1\ntimeout = {cap_s = 9.0}\n["conn\\u0065ction"] # x\nmost = 2\n'
    )
    lines = [
        policy.rows[category, None].sources[field].line
        for category, field in [
            (Category.SERVER, "most"),
            (Category.TIMEOUT, "cap_s"),
            (Category.CONNECTION, "most"),
        ]
    ]
    assert lines == [1, 2, 4]


def test_a_table_that_says_nothing_is_not_the_origin_of_anything(tmp_path: Path) -> None:
    policy = with_file(tmp_path, "[server]\n[timeout.code.read_timeout]\n")
    assert policy == Policy.packaged()


def test_without_a_users_file_the_packaged_policy_holds() -> None:
    assert Policy.load(None) is Policy.packaged()
