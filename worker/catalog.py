"""Which upstreams there are, and which of them serves a model.

One TOML file (`DELTAWORKS_UPSTREAMS_FILE`), in order of preference:

    [[upstream]]
    name = "openai"
    base_url = "https://api.openai.com/v1"
    api_key_env = "OPENAI_API_KEY"      # the name of its variable or secret file, never the key
    models = ["gpt-4o*", "o3"]          # * stands for any characters; ["*"] takes any model
    streams_logprobs = true             # it sends logprobs in its chunks
    include_usage = true                # it understands stream_options.include_usage
    requests_per_minute = 6000          # over all models; left out: what the upstream's own
    tokens_per_minute = 2_000_000       # headers say, else no limit
    max_streams = 500                   # open at the same time
    interactive_share = 0.1             # the part of each limit that bulk leaves alone

    [upstream.model."gpt-4o*"]          # limits of each model it fits, besides those above; of
    requests_per_minute = 500           # several that fit the first counts

    [upstream.prices."gpt-4o*"]         # of each model it fits, for a million tokens; of several
    input = 2.50                        # that fit the first counts. Any currency, but the same
    cached_input = 1.25                 # in the whole file: what a job costs is added up.
    output = 10.00                      # cached_input left out: as input

Without the file: `OPENAI_BASE_URL` and `OPENAI_API_KEY`, any model passed on; without those the
bundled simulator.
"""

import hashlib
import os
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from worker import secret_files
from worker.errors import ConfigurationError
from worker.usage import CACHED, INPUT, OUTPUT, count

OPENAI_BASE_URL = "https://api.openai.com/v1"
ANY_MODEL = "*"
SIMULATOR = "simulator"

# What the column for an upstream's name holds.
NAME_CHARACTERS = 64

MOST_RESERVED = 0.9
# No upstream admits more: what is larger is a slip.
MOST_PER_MINUTE = 1e10
# No currency has such prices: what is larger is a slip.
MOST_PRICE = 1e9
# Prices are for so many tokens.
PRICED_TOKENS = 1_000_000


class RateLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be asked of an upstream; None is no limit that we know of."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_streams: int | None = None


UNLIMITED = RateLimits()


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens of a model cost, in the currency of the whole file.

    Attributes:
        input: tokens of the prompt.
        cached_input: those of them that the upstream had in its cache; None is as `input`.
        output: tokens of the answer, reasoning included.
    """

    input: float
    cached_input: float | None = None
    output: float

    def of(self, usage: Mapping[str, object] | None, *, prompt: int = 0, output: int = 0) -> float:
        """What a request costs.

        Args:
            usage: the upstream's own counts, as in a chat completion. One that can be none (no
                whole number, negative, beyond any request, more cached than there was) is ignored.
            prompt, output: the tokens that stand in for a count it does not tell.
        """
        told, written = count(usage, *INPUT), count(usage, *OUTPUT)
        cached = count(usage, *CACHED)
        read = prompt if told is None else told
        known = cached if told is not None and cached is not None and cached <= told else 0
        known_price = self.input if self.cached_input is None else self.cached_input
        spent = (read - known) * self.input + known * known_price
        spent += (output if written is None else written) * self.output
        return spent / PRICED_TOKENS


class Upstream(RateLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider endpoint. `base_url` is the part before `/chat/completions`.

    Its own limits hold for all its models together, those in `model` for each model besides.
    """

    name: str
    base_url: str
    api_key_env: str | None = None
    models: tuple[str, ...] = (ANY_MODEL,)
    streams_logprobs: bool = False
    include_usage: bool = True
    interactive_share: float = 0.1
    model: Mapping[str, RateLimits] = {}
    prices: Mapping[str, Price] = {}

    def model_limits(self, model: str) -> RateLimits:
        """The limits of one model, besides the upstream's own."""
        fitting = (limits for name, limits in self.model.items() if fnmatchcase(model, name))
        return next(fitting, UNLIMITED)

    def price(self, model: str) -> Price | None:
        """The price of a model's tokens; None where none is known."""
        fitting = (price for name, price in self.prices.items() if fnmatchcase(model, name))
        return next(fitting, None)

    def serves(self, model: str) -> bool:
        """Whether this upstream is configured for the model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def api_key(self) -> str | None:
        """The key as the environment has it now, or as its secret file had it when first read.

        Raises:
            ConfigurationError: the variable is named in the configuration but not set.
        """
        if self.api_key_env is None:
            return None
        key = secret_files.value(self.api_key_env)
        if not key:
            raise ConfigurationError(
                f"upstream {self.name!r}: api_key_env names {self.api_key_env}, which is not set; "
                f"set it, or put its file into {secret_files.VARIABLE}, or remove api_key_env if "
                f"the upstream needs no key"
            )
        return key

    def key_fingerprint(self) -> str:
        """Stands for the key where a key must not stand: limits and suspensions are by account.

        Raises:
            ConfigurationError: see `api_key`.
        """
        key = self.api_key()
        return hashlib.sha256(key.encode()).hexdigest()[:16] if key else "none"


def is_pattern(name: str) -> bool:
    """Whether it may stand for several models, as `serves` reads it."""
    return any(sign in name for sign in "*?[")


class Catalog(msgspec.Struct, frozen=True):
    """All upstreams, in order of preference."""

    upstreams: tuple[Upstream, ...]

    def serving(self, model: str) -> list[Upstream]:
        """The upstreams that are configured for the model, in order of preference."""
        return [upstream for upstream in self.upstreams if upstream.serves(model)]

    @property
    def simulated(self) -> bool:
        """Whether the bundled simulator stands in because nothing is configured."""
        return any(upstream.name == SIMULATOR for upstream in self.upstreams)

    def models(self) -> list[str]:
        """Every model and pattern named in the configuration, each once."""
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
    if environ.get("OPENAI_BASE_URL") or secret_files.value("OPENAI_API_KEY", environ):
        return Catalog((_from_environment(environ),))
    return None


def simulated(base_url: str) -> Catalog:
    """The catalog with nothing but the bundled simulator, at its base URL."""
    upstream = Upstream(name=SIMULATOR, base_url=base_url, models=("sim*",), streams_logprobs=True)
    return Catalog((upstream,))


def _from_environment(environ: Mapping[str, str]) -> Upstream:
    base_url = environ.get("OPENAI_BASE_URL") or OPENAI_BASE_URL
    upstream = Upstream(
        name=_host(base_url)[:NAME_CHARACTERS] or "openai",
        base_url=base_url.rstrip("/"),
        api_key_env="OPENAI_API_KEY" if secret_files.value("OPENAI_API_KEY", environ) else None,
        streams_logprobs=base_url.rstrip("/") == OPENAI_BASE_URL,
    )
    _check(upstream, "OPENAI_BASE_URL")
    return upstream


def _from_file(file: Path) -> Catalog:
    try:
        document = tomllib.loads(file.read_text("utf-8"))
        _check_numbers(document, file)
        found = msgspec.convert(document, _File)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: {error}") from None
    if not found.upstream:
        raise ConfigurationError(f"{file}: names no upstream; add an [[upstream]] table")
    for upstream in found.upstream:
        _check_names(upstream, f"{file}: upstream {upstream.name[:NAME_CHARACTERS]!r}")
        _check(upstream, f"{file}: upstream {upstream.name!r}: base_url")
        _check_limits(upstream, f"{file}: upstream {upstream.name!r}")
        _check_prices(upstream, f"{file}: upstream {upstream.name!r}")
    names = [upstream.name for upstream in found.upstream]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"{file}: upstream {name!r} is named twice; rename one")
    return Catalog(tuple(_without_slash(upstream) for upstream in found.upstream))


def _without_slash(upstream: Upstream) -> Upstream:
    return msgspec.structs.replace(upstream, base_url=upstream.base_url.rstrip("/"))


def _check(upstream: Upstream, where: str) -> None:
    if "@" in upstream.base_url:  # not shown: what stands before it may be a password
        raise ConfigurationError(f"{where}: holds a password; name the key by api_key_env instead")
    if not _host(upstream.base_url):
        raise ConfigurationError(
            f"{where}: {upstream.base_url!r} is no http(s) address; "
            f"write it like https://api.openai.com/v1"
        )


def _host(url: str) -> str:
    """The host of an http(s) address; empty where it is none."""
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # brackets without an end, a port that is no number
        return ""
    return (parts.hostname or "") if is_http else ""


def _check_names(upstream: Upstream, where: str) -> None:
    if not 0 < len(upstream.name) <= NAME_CHARACTERS:
        raise ConfigurationError(
            f"{where}: name has {len(upstream.name)} characters; use 1 to {NAME_CHARACTERS}"
        )
    if not upstream.models:
        raise ConfigurationError(
            f'{where}: models is empty; name the models it serves, or leave it out for ["*"]'
        )


def _check_limits(upstream: Upstream, where: str) -> None:
    _check_positive(upstream, where)
    if not 0 <= upstream.interactive_share <= MOST_RESERVED:
        raise ConfigurationError(
            f"{where}: interactive_share = {upstream.interactive_share:g} is no part that leaves "
            f"bulk any; use 0 to {MOST_RESERVED:g}"
        )
    for model, limits in upstream.model.items():
        _check_positive(limits, f"{where}: model.{model!r}")
        if not is_pattern(model) and not upstream.serves(model):
            raise ConfigurationError(
                f"{where}: model.{model!r} has limits, but models does not name it; "
                f"add it to models, or remove the table"
            )


def _check_positive(limits: RateLimits, where: str) -> None:
    for name in RateLimits.__struct_fields__:
        value = getattr(limits, name)
        if value is not None and not 0 < value <= MOST_PER_MINUTE:
            raise ConfigurationError(
                f"{where}: {name} = {value:g} admits nothing, or more than can be counted; use "
                f"a number above 0 and up to {MOST_PER_MINUTE:g}, or leave it out for no limit"
            )


def _check_numbers(document: Mapping[str, Any], file: Path) -> None:
    """Refuse prices that are no numbers by their names: msgspec leaves out the model's."""
    upstreams = document.get("upstream")
    for upstream in upstreams if isinstance(upstreams, list) else ():
        for model, price in _table(_table(upstream).get("prices")).items():
            for name, value in _table(price).items():
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                if name in Price.__struct_fields__ and not is_number:
                    raise ConfigurationError(
                        f"{file}: upstream {_table(upstream).get('name')!r}: prices.{model!r}: "
                        f"{name} = {str(value)[:NAME_CHARACTERS]!r} is no number; use what a "
                        f"million tokens cost, without the currency"
                    )


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _check_prices(upstream: Upstream, where: str) -> None:
    for model, price in upstream.prices.items():
        for name in Price.__struct_fields__:
            value = getattr(price, name)
            if value is not None and not 0 <= value <= MOST_PRICE:
                raise ConfigurationError(
                    f"{where}: prices.{model!r}: {name} = {value:g} is no price of a million "
                    f"tokens; use 0 to {MOST_PRICE:g}"
                )
        if not is_pattern(model) and not upstream.serves(model):
            raise ConfigurationError(
                f"{where}: prices.{model!r} has a price, but models does not name it; "
                f"add it to models, or remove the table"
            )
