"""Pages of a list: how long, in which order, and what they look like."""

from collections.abc import Mapping, Sequence

from worker.errors import InvalidRequest

# How many things a page may show, and how many it shows where nothing else is said.
MOST_LISTED, LISTED = 100, 20
ORDERS = ("asc", "desc")


def limit_of(given: str | None, most: int = MOST_LISTED, usual: int = LISTED) -> int:
    """The length that `?limit=` asks for.

    Args:
        given: what was sent, if anything was.
        most: how many things a page of this list may show.
        usual: how many it shows where nothing is said.

    Raises:
        InvalidRequest: it is no such number.
    """
    if given is None:
        return usual
    # Shortened, since a number of thousands of digits is none to Python, and to no database.
    limit = int(given) if given.isdecimal() and len(given) <= len(str(most)) else 0
    if not 0 < limit <= most:
        raise InvalidRequest("limit", f"is {given[:40]!r}", f"give 1 to {most}")
    return limit


def order_of(given: str | None) -> str:
    """The order that `?order=` asks for: the newest, or the last, first, unless told otherwise.

    Raises:
        InvalidRequest: it is no order.
    """
    order = "desc" if given is None else given
    if order not in ORDERS:
        raise InvalidRequest("order", f"is {order[:40]!r}", f"use {' or '.join(ORDERS)}")
    return order


def page_of(data: Sequence[Mapping[str, object]], *, has_more: bool) -> dict[str, object]:
    """A page as OpenAI's clients read it, of things that have ids."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
