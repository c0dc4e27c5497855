"""What holds the code to its sizes holds all of it."""

from ops import check_sizes


def test_every_entry_of_the_jobs_path_names_something_that_is_there() -> None:
    assert {"execution", "leases.py", "limiter"} <= set(check_sizes.JOB_PATH)
    assert check_sizes.missing() == []


def test_an_entry_that_names_nothing_any_more_is_told() -> None:
    assert check_sizes.missing(("tasks.py", "execution.py")) == ["execution.py"]
