"""Which line used a name first, for millions of names in little memory.

A table of hashes with open addressing, 12 bytes a place: Python's own dictionary of a million
names would hold ten times as much. Two names are taken for one where Python's keyed 64-bit hashes
of them agree: among a million names once in forty million files.
"""

from array import array

FIRST_PLACES = 1 << 12
# A place is looked for in few steps as long as so much of the table is free.
FULL = 0.6
# Stands for a free place; a name with this hash has the next one.
FREE = 0


class FirstUse:
    """The lines in which names were used first."""

    def __init__(self) -> None:
        self._places = FIRST_PLACES
        self._used = 0
        self._hashes = array("q", [FREE]) * FIRST_PLACES
        self._lines = array("I", [0]) * FIRST_PLACES

    def of(self, name: str, line: int) -> int:
        """The line in which the name was used first, which is this one if it is new."""
        if self._used >= self._places * FULL:
            self._grow()
        found = hash(name) or 1
        place = self._find(found)
        if self._hashes[place] == FREE:
            self._hashes[place], self._lines[place] = found, line
            self._used += 1
        return self._lines[place]

    def _find(self, wanted: int) -> int:
        """The place of the hash, or the free one where it belongs."""
        mask, hashes = self._places - 1, self._hashes
        place = wanted & mask
        while hashes[place] not in (FREE, wanted):
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        hashes, lines = self._hashes, self._lines
        self._places *= 2
        self._hashes = array("q", [FREE]) * self._places
        self._lines = array("I", [0]) * self._places
        for found, line in zip(hashes, lines, strict=True):
            if found != FREE:
                place = self._find(found)
                self._hashes[place], self._lines[place] = found, line
