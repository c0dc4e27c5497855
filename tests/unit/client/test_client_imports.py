"""The client can be used where nothing of this project is installed but httpx and its files."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after the statement, in UTF-8 and untouched."""
    program = f"import sys; {statement}; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(ended.stdout.split())


def test_it_imports_httpx_the_standard_library_and_its_own_files() -> None:
    more = loaded_by("import worker.client") - loaded_by("import httpx")
    foreign = {name for name in more if name.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign
    assert {name for name in foreign if not name.startswith("worker.client.")} == {
        "worker",
        "worker.client",
    }
