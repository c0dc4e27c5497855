"""How long a page of a list is."""

from worker.errors import InvalidRequest

# How many things a page may show, and how many it shows where nothing else is said.
MOST_LISTED, LISTED = 100, 20


def limit_of(given: str | None) -> int:
    """The length that `?limit=` asks for.

    Raises:
        InvalidRequest: it is no such number.
    """
    if given is None:
        return LISTED
    # Shortened, since a number of thousands of digits is none to Python, and to no database.
    limit = int(given) if given.isdecimal() and len(given) <= len(str(MOST_LISTED)) else 0
    if not 0 < limit <= MOST_LISTED:
        raise InvalidRequest("limit", f"is {given[:40]!r}", f"give 1 to {MOST_LISTED}")
    return limit
