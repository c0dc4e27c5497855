"""The peers' own virtual environments: their requirements meet neither ours nor one another's."""

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDERS = HERE.parent / "out"


def peer_python(peer: str) -> Path:
    """The interpreter of the peer's environment; it is made where it is not yet.

    Args:
        peer: its requirements are `ops/bench/peers/<peer>.txt`.
    """
    requirements, folder = HERE / f"{peer}.txt", FOLDERS / f"{peer}-venv"
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)]
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603
    subprocess.run([str(python), *install], check=True)  # noqa: S603
    stamp.write_text(wanted)
    return python


def versions(peer: str, *packages: str) -> dict[str, str]:
    """The versions of the packages in the peer's environment."""
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [str(peer_python(peer)), "-c", code, *packages]
    printed = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return dict(zip(packages, printed.stdout.split(), strict=True))
