"""The policy: the packaged table, and a user's file on top."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from worker.errors import Category, ConfigurationError, UpstreamError
from worker.policy import checks
from worker.policy.reading import Entry, Key, read
from worker.policy.row import Origin, Row, folded

_PACKAGED = files("worker.policy").joinpath("policy.toml")


class Policy(msgspec.Struct, frozen=True):
    """What is done about each error. Under `(category, None)` every category has a row."""

    rows: Mapping[Key, Row]

    @staticmethod
    def packaged() -> "Policy":
        """The policy of who has set nothing."""
        return _packaged()

    @staticmethod
    def load(user_file: Path | None) -> "Policy":
        """The packaged policy with the fields of a user's file on top.

        Raises:
            ConfigurationError: with one sentence for every fault of the file, each on its line.
        """
        if user_file is None:
            return _packaged()
        try:
            text = user_file.read_text("utf-8")
        except OSError as error:
            raise ConfigurationError(f"{user_file}: cannot be read: {error.strerror}") from None
        except ValueError:
            raise ConfigurationError(f"{user_file}: is not text in UTF-8") from None
        return parse(text, str(user_file))

    def row_for(self, error: UpstreamError) -> Row:
        """The row of the error's code, else that of its category."""
        row = self.rows.get((error.category, folded(error.code))) if error.code else None
        return row or self.rows[error.category, None]


def parse(text: str, file: str) -> Policy:
    """The policy with the TOML `text` of the user's `file` on top.

    Raises:
        ConfigurationError: with all that is wrong with it.
    """
    entries, faults = read(text, file)
    layers = (_packaged_entries(), entries)
    rows = {key: _row(key, layers) for key in _keys(layers)}
    clashes = (fault for row in rows.values() for fault in checks.faults(row))
    # A code has its category's clash once more.
    found = dict.fromkeys((*faults, *clashes))
    if found:
        raise ConfigurationError("\n".join(found))
    return Policy(rows)


@cache
def _packaged_entries() -> dict[Key, Entry]:
    entries, faults = read(_PACKAGED.read_text("utf-8"), None)
    assert not faults, faults
    return entries


@cache
def _packaged() -> Policy:
    layers = (_packaged_entries(),)
    return Policy({key: _row(key, layers) for key in _keys(layers)})


def _keys(layers: tuple[dict[Key, Entry], ...]) -> list[Key]:
    """In the order of the categories, each before its codes."""
    order = list(Category)
    keys = {key for layer in layers for key in layer}
    return sorted(keys, key=lambda key: (order.index(key[0]), key[1] or ""))


def _row(key: Key, layers: tuple[dict[Key, Entry], ...]) -> Row:
    """What is said of a code goes before what is said of its category, whoever says it."""
    category, code = key
    generality = ((category, None), key) if code is not None else (key,)
    entries = [layer[k] for k in generality for layer in layers if k in layer]
    values: dict[str, object] = {}
    sources: dict[str, Origin] = {}
    for entry in entries:
        values |= entry.values
        sources |= entry.sources
    place = {"category": category, "code": code, "origin": entries[-1].origin, "sources": sources}
    return msgspec.convert(values | place, Row)
