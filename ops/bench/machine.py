"""What a measurement was made on, and with."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ops.bench.peers.environment import versions


def machine(ours: Sequence[str], peer: str = "", theirs: Sequence[str] = ()) -> dict[str, str]:
    """The machine, the interpreter, and the versions of our packages and of a peer's, if any."""
    rows = _read("/proc/cpuinfo").splitlines()
    model = [row for row in rows if row.startswith("model name")]
    processor = model[0].partition(": ")[2] if model else platform.processor()
    known = {
        "machine": f"{processor}, {os.cpu_count()} cores, {platform.platform()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "deltaworks": ", ".join(f"{name} {version(name)}" for name in ours),
    }
    if peer:
        found = versions(peer, *theirs)
        known["peer"] = ", ".join(f"{name} {its}" for name, its in found.items())
    return known


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""
