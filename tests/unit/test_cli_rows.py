"""Rows of keys, workers, upstreams, attempts and batches, as a pipe gets them."""

import pytest

from worker.cli.tables import joined, named, print_rows

COLUMNS = ("id", "name", "state")
ROWS = [("1", "one", "stands"), ("2", "", "revoked")]


def test_a_pipe_gets_a_line_for_each_row_without_empty_cells(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows(COLUMNS, ROWS, joined(ROWS))
    print_rows(COLUMNS, ROWS, named(COLUMNS, ROWS))

    assert capsys.readouterr().out.splitlines() == [
        "1, one, stands", "2, revoked", "id 1, name one, state stands", "id 2, state revoked",
    ]  # fmt: skip


def test_what_others_have_named_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows(("name",), [], ["a\x1b]0;title\x07b"])

    assert capsys.readouterr().out == "a\ufffd]0;title\ufffdb\n"
