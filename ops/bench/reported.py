"""What every benchmark hands in: bars, tables, charts; and where it is kept.

A benchmark that has run writes one `Report` to `ops/bench/out/<name>.json` and its charts beside
it. The results page is made of these, so that a benchmark can be run again by itself.
"""

from pathlib import Path

import msgspec

OUT = Path(__file__).parent / "out"


class Bar(msgspec.Struct, frozen=True):
    """A bar, and what was found.

    Attributes:
        name: what is measured, with its unit.
        at_most: whether `limit` is the most that is allowed, not the least.
        limit, found: the bar, and the median of the runs.
    """

    name: str
    limit: float
    found: float
    at_most: bool = True

    @property
    def held(self) -> bool:
        """Whether what was found is on the right side of the bar."""
        return self.found <= self.limit if self.at_most else self.found >= self.limit


class Report(msgspec.Struct, frozen=True):
    """One benchmark's part of the results page.

    Attributes:
        name: of the benchmark, and of its files.
        title: its heading.
        command: that made it.
        machine: see `ops.bench.machine`.
        runs: how many it is the median of.
        body: Markdown below the heading: tables and how they are to be read.
        bars: what it must hold.
        charts: SVG documents by file name.
        results: the raw numbers, for whoever wants to compute with them.
    """

    name: str
    title: str
    command: str
    machine: dict[str, str]
    runs: int
    body: str
    bars: list[Bar]
    charts: dict[str, str]
    results: msgspec.Raw

    def keep(self, folder: Path = OUT) -> None:
        """Write it and its charts."""
        folder.mkdir(exist_ok=True)
        for name, svg in self.charts.items():
            (folder / name).write_text(svg)
        kept = msgspec.json.format(msgspec.json.encode(self))
        (folder / f"{self.name}.json").write_bytes(kept)

    @classmethod
    def kept(cls, name: str, folder: Path = OUT) -> "Report | None":
        """The benchmark's last report, if there is one."""
        file = folder / f"{name}.json"
        return msgspec.json.decode(file.read_bytes(), type=cls) if file.exists() else None

    @staticmethod
    def forget(name: str, folder: Path = OUT) -> None:
        """Remove the benchmark's last report: if it fails now, nobody shall take that for it."""
        (folder / f"{name}.json").unlink(missing_ok=True)
