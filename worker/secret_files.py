"""Secrets that stand in files: Docker, Compose and Kubernetes hand them over as a folder of these.

`DELTAWORKS_SECRETS_DIR` names the folder. Each file has the name of the variable it stands in for,
`DELTAWORKS_DATABASE_URL` or an upstream's `OPENAI_API_KEY`, and holds nothing but its value. A
variable that is set comes first. Files are read once: a new value takes a restart.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from worker.errors import ConfigurationError

VARIABLE = "DELTAWORKS_SECRETS_DIR"


def folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of secrets; None where none is named.

    Raises:
        ConfigurationError: what is named is no folder.
    """
    named = environ.get(VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise ConfigurationError(
            f"{VARIABLE}={named} is no folder; mount the secrets there, or leave it unset"
        )
    return Path(named)


def value(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The variable's value, else that of the file of its name; None where neither says anything.

    Raises:
        ConfigurationError: the file, or the folder, cannot be read.
    """
    if said := environ.get(name):
        return said
    where = folder(environ)
    return None if where is None else _content(where / name) or None


@cache
def _content(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "is no text in UTF-8"
        raise ConfigurationError(
            f"{VARIABLE}: {file}: {said}; the process's user has to be able to read it"
        ) from None
