"""The peers' own virtual environment: their requirements never meet the project's."""

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
FOLDER = HERE.parent / "out" / "peer-venv"


def peer_python() -> Path:
    """The environment's interpreter; it is made where its requirements are not yet installed."""
    python = FOLDER / "bin" / "python"
    stamp = FOLDER / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)]
    subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)  # noqa: S603
    subprocess.run([str(python), *install], check=True)  # noqa: S603
    stamp.write_text(wanted)
    return python


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of the packages."""
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [str(peer_python()), "-c", code, *packages]
    printed = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return dict(zip(packages, printed.stdout.split(), strict=True))
