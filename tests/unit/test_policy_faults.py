"""A faulty policy file is refused with a sentence for every fault: where, what, and what to do."""

from pathlib import Path

import pytest

from worker.errors import ConfigurationError
from worker.policy import Policy


def refusal(tmp_path: Path, text: str | bytes) -> list[str]:
    file = tmp_path / "mine.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigurationError) as refused:
        Policy.load(file)
    return [line.replace(f"{file}", "FILE") for line in str(refused.value).splitlines()]


def test_a_value_of_the_wrong_kind_is_named_with_its_line_and_the_remedy(tmp_path: Path) -> None:
    assert refusal(tmp_path, '[server]\n\nbase_s = "soon"\n') == [
        "FILE, line 3: [server] base_s = 'soon' cannot be; write seconds, from 0.01 to 2678400"
    ]


@pytest.mark.parametrize(
    "term",
    [
        "base_s = 0",
        "base_s = nan",
        "cap_s = inf",
        "cap_s = -1",
        "most = 1.5",
        "most = true",
        "most = -1",
        "most = 0x" + "f" * 5_000,
        "cool_down_share = 1.1",
        'action = "again"',
        "fallback = 1",
        'counts = "both"',
        "cool_down = []",
        "suspend_s = 2030-01-01",
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_field(tmp_path: Path, term: str) -> None:
    (fault,) = refusal(tmp_path, f"[server]\n{term}\n")
    assert fault.startswith(f"FILE, line 2: [server] {term.partition(' ')[0]} = ")
    assert "; write " in fault
    assert len(fault) < 200


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = '[servr]\n[server]\nbase = 1\nmost = "many"\n[bad_request]\nfallback = true\n'
    found = refusal(tmp_path, text)
    assert [fault.split(":")[0] for fault in found] == [
        "FILE, line 1",
        "FILE, line 3",
        "FILE, line 4",
        "FILE, line 6",
    ]


def test_a_category_that_is_not_known_is_refused_with_the_one_that_was_meant(
    tmp_path: Path,
) -> None:
    assert refusal(tmp_path, "[ratelimit]\nmost = 1\n") == [
        "FILE, line 1: 'ratelimit' is no category of errors; did you mean rate_limit?"
    ]


def test_a_field_that_is_not_known_is_refused_with_those_there_are(tmp_path: Path) -> None:
    (fault,) = refusal(tmp_path, "[server]\nxyz = 1\n")
    assert "'xyz' is no field; use one of action, base_s, cap_s" in fault


@pytest.mark.parametrize("category", ["bad_request", "content_filter"])
@pytest.mark.parametrize("code", ["", ".code.some_code"])
def test_a_refused_request_is_never_sent_to_another_upstream(
    tmp_path: Path, category: str, code: str
) -> None:
    (fault,) = refusal(tmp_path, f"[{category}{code}]\nfallback = true\n")
    assert fault.startswith(f"FILE, line 2: [{category}{code}] fallback = True would send")
    assert fault.endswith("; remove it")


@pytest.mark.parametrize("category", ["deadline", "poison", "internal"])
def test_an_end_of_our_own_stays_an_end(tmp_path: Path, category: str) -> None:
    found = refusal(tmp_path, f'[{category}]\naction = "retry"\nfallback = true\n')
    assert len(found) == 2


def test_a_suspension_is_not_retried_against(tmp_path: Path) -> None:
    (fault,) = refusal(tmp_path, '[suspended]\naction = "retry"\n')
    assert "is there to hold back" in fault


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\ncap_s = 0.1\n", 2),
        ("[server]\nbase_s = 30\n", 2),
        ('[connection]\ncounts = "nothing"\n', 2),
        ("[server]\ncool_down_least_s = 31.0\n", 2),
        ("[billing]\nmost = 1\nsuspend_s = 0\n", 3),
        ('[billing]\ncool_down = "none"\n', 2),
        ('[server]\naction = "suspend"\n', 2),
    ],
)
def test_fields_that_clash_are_told_by_the_one_that_the_user_wrote(
    tmp_path: Path, text: str, line: int
) -> None:
    (fault,) = refusal(tmp_path, text)
    assert fault.startswith(f"FILE, line {line}: ")


def test_lines_are_counted_past_values_of_several_lines(tmp_path: Path) -> None:
    found = refusal(tmp_path, "[server]\nmost = [\n  1,\n]\ncap_s = -1\n")
    assert [fault.partition(" = ")[0] for fault in found] == [
        "FILE: [server] most",
        "FILE, line 5: [server] cap_s",
    ]


def test_a_clash_that_codes_inherit_is_told_once(tmp_path: Path) -> None:
    text = "[server]\nbase_s = 30\n[server.code.a]\nmost = 1\n[server.code.b]\nmost = 1\n"
    assert len(refusal(tmp_path, text)) == 1


def test_the_same_code_in_two_spellings_is_refused(tmp_path: Path) -> None:
    (fault,) = refusal(tmp_path, "[server.code.a]\nmost = 1\n[server.code.A]\nmost = 2\n")
    assert fault == "FILE, line 3: [server.code.A] is there in another spelling; keep one of them"


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("server = 1", "[server]"),
        ("[[server]]", "[server]"),
        ("server.code = 1", "[server.code]"),
        ("server.code.x = 1", "[server.code.x]"),
    ],
)
def test_what_has_to_be_a_table_is_asked_for_as_one(tmp_path: Path, text: str, header: str) -> None:
    (fault,) = refusal(tmp_path, text)
    assert fault.startswith(f"FILE, line 1: {header} = ")
    assert fault.endswith(f"write {header} above its fields")


@pytest.mark.parametrize(
    "text",
    [
        "[server",
        "a = " + "[" * 5_000,
        "a = " + "9" * 5_000,
        "server." + "a." * 5_000 + "b = 1",
        "\0",
        b"\xff\xfe",
        "\ufeff[server]",
    ],
    ids=["syntax", "deep", "digits", "dots", "nul", "binary", "bom"],
)
def test_hostile_text_is_one_fault_of_the_file(tmp_path: Path, text: str | bytes) -> None:
    (fault,) = refusal(tmp_path, text)
    assert fault.startswith("FILE")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.toml: cannot be read: No such file"):
        Policy.load(tmp_path / "missing.toml")
