"""The text of a policy file as entries, with a sentence for each fault in it."""

import reprlib
import tomllib
from difflib import get_close_matches
from typing import NamedTuple, TypeGuard, get_args

import msgspec

from worker.errors import Category
from worker.policy.lines import Path, line_numbers
from worker.policy.row import FIELDS, Origin, folded

Key = tuple[Category, str | None]
"""A category, and a code of it or None for all its codes."""

CODES = "code"
"""The table in a category's table that holds the tables of its codes."""


class Entry(NamedTuple):
    """One table of a file: the values of the fields it has, and where each stands."""

    origin: Origin
    values: dict[str, object]
    sources: dict[str, Origin]


def read(text: str, file: str | None) -> tuple[dict[Key, Entry], list[str]]:
    """The entries of a text, and its faults.

    Args:
        text: TOML.
        file: its name, for origins and faults; None for the packaged table.
    """
    try:
        document = tomllib.loads(text)
    except ValueError as error:  # also of integers with more digits than Python reads
        return {}, [f"{file}: is not TOML: {error}"]
    except RecursionError:
        return {}, [f"{file}: is not TOML that can be read: its values are nested too deep"]
    reader = _Reader(text, file)
    reader.read(document)
    return reader.entries, reader.faults


def shown(value: object) -> str:
    """A value as a fault quotes it, shortened."""
    try:
        return reprlib.repr(value)
    except ValueError:  # more digits than Python writes
        return "a number of thousands of digits"


class _Reader:
    """Goes through a document and notes entries and faults."""

    def __init__(self, text: str, file: str | None) -> None:
        self.entries: dict[Key, Entry] = {}
        self.faults: list[str] = []
        self._file = file
        self._lines = line_numbers(text)

    def read(self, document: dict[str, object]) -> None:
        for name, table in document.items():
            if name not in list(Category):
                remedy = _instead(name, list(Category))
                self._fault((name,), f"{shown(name)} is no category of errors; {remedy}")
            elif self._is_table(table, (name,)):
                self._category(Category(name), table)

    def _category(self, category: Category, table: dict[str, object]) -> None:
        path = (category.value,)
        own = {name: value for name, value in table.items() if name != CODES}
        self._keep((category, None), self._entry(path, own))
        codes = table.get(CODES, {})
        if not self._is_table(codes, (*path, CODES)):
            return
        for code, inner in codes.items():
            if self._is_table(inner, (*path, CODES, code)):
                self._code(category, code, inner)

    def _code(self, category: Category, code: str, table: dict[str, object]) -> None:
        path, key = (category.value, CODES, code), (category, folded(code))
        if key in self.entries:
            self._fault(path, f"{_header(path)} is there in another spelling; keep one of them")
        else:
            self._keep(key, self._entry(path, table))

    def _keep(self, key: Key, entry: Entry) -> None:
        """A table that says nothing is not where anything comes from."""
        if entry.values:
            self.entries[key] = entry

    def _entry(self, path: Path, table: dict[str, object]) -> Entry:
        entry = Entry(self._origin(path), {}, {})
        for name, value in table.items():
            if self._is_field(path, name) and self._is_fit(path, name, value):
                entry.values[name] = msgspec.convert(value, FIELDS[name])
                entry.sources[name] = self._origin(path, name)
        return entry

    def _is_table(self, value: object, path: Path) -> TypeGuard[dict[str, object]]:
        if isinstance(value, dict):
            return True
        header = _header(path)
        self._fault(path, f"{header} = {shown(value)} is no table; write {header} above its fields")
        return False

    def _is_field(self, path: Path, name: str) -> bool:
        if name in FIELDS:
            return True
        remedy = _instead(name, list(FIELDS))
        self._fault((*path, name), f"{_header(path)} {shown(name)} is no field; {remedy}")
        return False

    def _is_fit(self, path: Path, name: str, value: object) -> bool:
        try:
            msgspec.convert(value, FIELDS[name])
        except msgspec.ValidationError:
            said = f"{_header(path)} {name} = {shown(value)} cannot be"
            self._fault((*path, name), f"{said}; write {_description(name)}")
            return False
        return True

    def _origin(self, table: Path, *field: str) -> Origin:
        line = self._lines.get((*table, *field))
        return Origin(self._file, table, line)

    def _fault(self, path: Path, sentence: str) -> None:
        self.faults.append(f"{self._origin(path)}: {sentence}")


def _header(path: Path) -> str:
    return f"[{'.'.join(path)}]"


def _description(field: str) -> str:
    meta = get_args(FIELDS[field])[1]
    assert isinstance(meta, msgspec.Meta)
    assert meta.description is not None
    return meta.description


def _instead(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
