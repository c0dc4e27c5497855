"""Which upstreams there are, and which of them serves a model.

One TOML file (`DELTAWORKS_UPSTREAMS_FILE`), in order of preference:

    [[upstream]]
    name = "openai"
    base_url = "https://api.openai.com/v1"
    api_key_env = "OPENAI_API_KEY"      # the variable's name, never the key itself
    models = ["gpt-4o*", "o3"]          # * stands for any characters; ["*"] takes any model
    streams_logprobs = true             # it sends logprobs in its chunks
    include_usage = true                # it understands stream_options.include_usage

Without the file: `OPENAI_BASE_URL` and `OPENAI_API_KEY`, any model passed on; without those the
bundled simulator.
"""

import os
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from worker.errors import ConfigurationError

OPENAI_BASE_URL = "https://api.openai.com/v1"
ANY_MODEL = "*"
SIMULATOR = "simulator"


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider endpoint. `base_url` is the part before `/chat/completions`."""

    name: str
    base_url: str
    api_key_env: str | None = None
    models: tuple[str, ...] = (ANY_MODEL,)
    streams_logprobs: bool = False
    include_usage: bool = True

    def serves(self, model: str) -> bool:
        """Whether this upstream is configured for the model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def api_key(self) -> str | None:
        """The key, read from the environment at each use, so that rotation needs no restart.

        Raises:
            ConfigurationError: the variable is named in the configuration but not set.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env)
        if not key:
            raise ConfigurationError(
                f"upstream {self.name!r}: api_key_env names {self.api_key_env}, which is not set; "
                f"set it, or remove api_key_env if the upstream needs no key"
            )
        return key


class Catalog(msgspec.Struct, frozen=True):
    """All upstreams, in order of preference."""

    upstreams: tuple[Upstream, ...]

    def serving(self, model: str) -> Upstream | None:
        """The preferred upstream for the model, or None where no upstream is configured for it."""
        return next((up for up in self.upstreams if up.serves(model)), None)

    @property
    def simulated(self) -> bool:
        """Whether the bundled simulator stands in because nothing is configured."""
        return any(upstream.name == SIMULATOR for upstream in self.upstreams)

    def models(self) -> list[str]:
        """Every model named in the configuration, each once."""
        return list(dict.fromkeys(m for up in self.upstreams for m in up.models))


class _File(msgspec.Struct, forbid_unknown_fields=True):
    upstream: tuple[Upstream, ...]


def configured(file: Path | None, environ: Mapping[str, str] = os.environ) -> Catalog | None:
    """The catalog that the file or the `OPENAI_*` variables describe; None where neither is given.

    Raises:
        ConfigurationError: with the file and the fault.
    """
    if file is not None:
        return _from_file(file)
    if environ.get("OPENAI_BASE_URL") or environ.get("OPENAI_API_KEY"):
        return Catalog((_from_environment(environ),))
    return None


def simulated(base_url: str) -> Catalog:
    """The catalog with nothing but the bundled simulator, at its base URL."""
    upstream = Upstream(name=SIMULATOR, base_url=base_url, models=("sim*",), streams_logprobs=True)
    return Catalog((upstream,))


def _from_environment(environ: Mapping[str, str]) -> Upstream:
    base_url = environ.get("OPENAI_BASE_URL") or OPENAI_BASE_URL
    upstream = Upstream(
        name=urlsplit(base_url).hostname or "openai",
        base_url=base_url.rstrip("/"),
        api_key_env="OPENAI_API_KEY" if environ.get("OPENAI_API_KEY") else None,
        streams_logprobs=base_url.rstrip("/") == OPENAI_BASE_URL,
    )
    _check(upstream, "OPENAI_BASE_URL")
    return upstream


def _from_file(file: Path) -> Catalog:
    try:
        found = msgspec.convert(tomllib.loads(file.read_text("utf-8")), _File)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: {error}") from None
    if not found.upstream:
        raise ConfigurationError(f"{file}: names no upstream; add an [[upstream]] table")
    for upstream in found.upstream:
        _check(upstream, f"{file}: upstream {upstream.name!r}: base_url")
    names = [upstream.name for upstream in found.upstream]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"{file}: upstream {name!r} is named twice; rename one")
    return Catalog(found.upstream)


def _check(upstream: Upstream, where: str) -> None:
    parts = urlsplit(upstream.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"{where}: {upstream.base_url!r} is no http(s) address; "
            f"write it like https://api.openai.com/v1"
        )
    if parts.username or parts.password:
        raise ConfigurationError(f"{where}: holds a password; name the key by api_key_env instead")
