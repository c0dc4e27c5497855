"""What a measurement was made on, and with."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ops.bench.peers.environment import versions


def machine(ours: Sequence[str], peer: str, theirs: Sequence[str]) -> dict[str, str]:
    """The machine, the interpreter, and the versions of our packages and of a peer's."""
    rows = _read("/proc/cpuinfo").splitlines()
    model = [row for row in rows if row.startswith("model name")]
    processor = model[0].partition(": ")[2] if model else platform.processor()
    return {
        "machine": f"{processor}, {os.cpu_count()} cores, {platform.platform()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "deltaworks": ", ".join(f"{name} {version(name)}" for name in ours),
        "peer": ", ".join(f"{name} {found}" for name, found in versions(peer, *theirs).items()),
    }


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text() if file.exists() else ""
