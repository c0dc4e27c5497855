"""What words may be a label's value: those of the configuration and of our own tables.

Everything else is `other`: upstreams make up codes, and callers models, as they like, and each
new value is a series that Prometheus keeps.
"""

from fnmatch import fnmatchcase

from worker.catalog import ANY_MODEL, Catalog
from worker.classify.table import spelled
from worker.errors import Category

OTHER, NONE = "other", "none"

# Codes of our own, beside those of HTTP and of the table of upstreams' words.
_OWN = """
    connect_timeout read_timeout write_timeout pool_timeout undecodable_body invalid_url
    invalid_header proxy_failure dns_failure tls_failure connection_refused connection_reset
    connection_closed invalid_response timeout connection_failed stream_truncated connection_lost
    first_byte_timeout first_token_timeout token_gap_timeout attempt_timeout end_timeout deadline
    malformed_chunk event_too_large no_upstream worker_died batch_expired drained
"""
CODES = frozenset(_OWN.split())

_CATEGORIES = frozenset(Category)


class Bounds:
    """What a process's configuration names; nothing before `know` is called."""

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()
        self._by_address: dict[str, str] = {}
        self._models: tuple[str, ...] = ()

    def know(self, catalog: Catalog) -> None:
        """Take the names from here."""
        self._names = frozenset(each.name for each in catalog.upstreams)
        # Of two names for one address the first counts.
        self._by_address = {each.base_url: each.name for each in reversed(catalog.upstreams)}
        self._models = tuple(name for name in catalog.models() if name != ANY_MODEL)

    def upstream(self, name: str | None) -> str:
        """The upstream's name, if it is a configured one."""
        return name if name in self._names else OTHER

    def upstream_at(self, base_url: str) -> str:
        """The name of the upstream at this address."""
        return self._by_address.get(base_url, OTHER)

    def model(self, name: str) -> str:
        """The model as the configuration names it, which may be a pattern like `gpt-4o*`."""
        if name in self._models:
            return name
        fitting = (each for each in self._models if fnmatchcase(name, each))
        return next(fitting, OTHER)

    def code(self, code: str | None) -> str:
        """An error's code, if it is in the tables."""
        if code is None:
            return NONE
        if code in CODES or (len(code) == 3 and code.isascii() and code.isdigit()):
            return code
        return spelled(code) or OTHER


def category(name: str | None) -> str:
    """An error's category; `none` where there is no error."""
    if name is None:
        return NONE
    return name if name in _CATEGORIES else OTHER


BOUNDS = Bounds()
