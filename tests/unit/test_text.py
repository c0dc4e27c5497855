"""Text that every database can hold: nothing but NUL and lone surrogates is changed."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from worker.text import moment, repair, repair_document

any_text = st.text(st.characters(categories=None) | st.sampled_from("\0\ud83d\ude00\ud800\udfff"))


def model(text: str) -> str:
    """Pair by pair, and everything that is left over replaced."""
    repaired, place = "", 0
    while place < len(text):
        high, low = text[place], text[place + 1 : place + 2]
        if "\ud800" <= high <= "\udbff" and low and "\udc00" <= low <= "\udfff":
            code = 0x10000 + ((ord(high) - 0xD800) << 10) + (ord(low) - 0xDC00)
            repaired, place = repaired + chr(code), place + 2
            continue
        is_storable = high != "\0" and not "\ud800" <= high <= "\udfff"
        repaired, place = repaired + (high if is_storable else "\ufffd"), place + 1
    return repaired


@given(any_text)
def test_pairs_are_joined_and_the_rest_of_what_nobody_stores_is_replaced(text: str) -> None:
    assert repair(text) == model(text)
    repair(text).encode()
    assert repair(repair(text)) == repair(text)


def test_text_that_can_be_stored_is_the_very_same_object() -> None:
    text = "plain, \ufffd, \U0001f600, \u2028, \x01, \ufeff"
    assert repair(text) is text


def test_every_text_of_a_document_is_repaired_keys_too() -> None:
    given = {"a\0": ["\ud83d\ude00", {"b": "\ud800"}, 1, None, True, 1.5], "c": {}}
    assert repair_document(given) == {
        "a\ufffd": ["\U0001f600", {"b": "\ufffd"}, 1, None, True, 1.5], "c": {},
    }  # fmt: skip


def test_a_moment_ends_in_z_and_keeps_its_microseconds() -> None:
    assert moment(datetime(2030, 1, 31, 22, 0, 0, 123456, UTC)) == "2030-01-31T22:00:00.123456Z"
    assert moment(None) is None
