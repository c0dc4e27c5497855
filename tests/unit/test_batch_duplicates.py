"""Which line used a name first: as a dictionary says, in a fraction of its memory."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from worker.batch.duplicates import FIRST_PLACES, FirstUse

NAMES = st.text(max_size=3) | st.sampled_from(["a", "b", "row-1", "\0", ""])


@given(st.lists(NAMES, max_size=200))
def test_it_says_what_a_dictionary_says(names: list[str]) -> None:
    uses, known = FirstUse(), dict[str, int]()
    for line, name in enumerate(names, 1):
        assert uses.of(name, line) == known.setdefault(name, line)


def test_it_grows_without_forgetting() -> None:
    uses = FirstUse()
    for line in range(1, 5 * FIRST_PLACES):
        assert uses.of(f"row-{line}", line) == line
    for line in range(1, 5 * FIRST_PLACES):
        assert uses.of(f"row-{line}", line + 1_000_000) == line


def test_lines_of_the_largest_files_fit() -> None:
    uses = FirstUse()
    assert uses.of("a", 2**32 - 1) == uses.of("a", 7) == 2**32 - 1


def test_two_hundred_thousand_names_take_less_than_ten_megabytes_at_any_time() -> None:
    tracemalloc.start()
    try:
        uses = FirstUse()
        for line in range(1, 200_001):
            uses.of(f"customer-{line:010}", line)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
