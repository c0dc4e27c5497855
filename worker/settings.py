"""Settings of one process: environment variables `DELTAWORKS_*`, frozen, refused when they clash.

What is secret may stand in files instead: `secret_files`. Every duration is in seconds and its
name ends in `_s`.
"""

from base64 import b64decode
from functools import cache
from pathlib import Path
from typing import Literal

from platformdirs import user_state_path
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from worker import secret_files
from worker.errors import ConfigurationError

PREFIX = "DELTAWORKS_"

# As redis-py and kombu spell them.
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
RABBITMQ_SCHEMES = ("amqp://", "amqps://")
BROKER_SCHEMES = ("redis://", "rediss://", "redis+socket://", *RABBITMQ_SCHEMES)
# What both of them understand.
SHARED_SCHEMES = ("redis://", "rediss://")


# Standard Webhooks, "Signature scheme": how a secret is written, and its bytes.
WEBHOOK_SECRET = "whsec_"  # noqa: S105  what every secret begins with
LEAST_SECRET, MOST_SECRET = 24, 64

# Ten years: what is longer is a slip, or infinite, and no clock can add it up.
LONGEST_S = 10 * 365 * 86_400.0


class Settings(BaseSettings):
    """What can be set. An unset URL means: the embedded engine of `home`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    home: Path = Field(default_factory=lambda: user_state_path("deltaworks"))
    redis_url: str | None = None
    broker_url: str | None = None
    # RabbitMQ's kind of queue, the same for all that reach the broker. Quorum queues have replicas.
    queue_type: Literal["classic", "quorum"] = "classic"
    database_url: str | None = None
    # Whether PostgreSQL prepares statements; false behind a pgbouncer that cannot (before 1.21, or
    # with max_prepared_statements = 0) and hands connections on after each transaction.
    database_prepares: bool = True
    upstreams_file: Path | None = None
    policy_file: Path | None = None

    # How processes log: one JSON object a line, or text for people; `auto` is text on a terminal
    # and JSON elsewhere. `--log-level` goes before the level (unset: info).
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    # Whether spans hold prompts and answers (see `worker.tracing`).
    trace_content: bool = False

    # What the command line asks for where `--model` is not given.
    model: str | None = None

    # How many streams one worker process carries at the same time.
    streams: int = Field(500, ge=1, le=10_000)

    # The part of them that bulk jobs leave to interactive ones, where a process serves both.
    interactive_reserve: float = Field(0.1, ge=0, lt=1)

    # A job's lease, and how often all leases of a process are renewed.
    lease_s: float = Field(30.0, ge=1.0)
    renew_s: float = Field(10.0, gt=0)
    sweep_s: float = Field(5.0, gt=0)
    # How long running jobs may go on when their process is told to end.
    grace_s: float = Field(30.0, ge=0)

    # How long a job may take from submit to its end.
    interactive_deadline_s: float = Field(3600.0, gt=0)
    bulk_deadline_s: float = Field(86_400.0, gt=0)

    connect_timeout_s: float = Field(10.0, gt=0)
    # As long as the first token's: servers exist that hold their headers back until then.
    first_byte_timeout_s: float = Field(300.0, gt=0)
    first_token_timeout_s: float = Field(300.0, gt=0)
    # Between events that bear a token; comments and pings do not count.
    token_gap_timeout_s: float = Field(120.0, gt=0)
    attempt_timeout_s: float = Field(900.0, gt=0)
    # How long a stream whose every choice has ended is read on for usage or a late error.
    end_grace_s: float = Field(2.0, ge=0)

    # Ends of jobs that wait for a database that is away: where (unset: `spool` in `home`), and at
    # most how many.
    spool_folder: Path | None = None
    spool_files: int = Field(10_000, ge=0)
    spool_bytes: int = Field(1_000_000_000, ge=0)

    # Rows of a batch's file; OpenAI's limit is 50,000.
    max_batch_rows: int = Field(1_000_000, ge=1)
    max_request_bytes: int = Field(20_000_000, ge=1_000)
    max_event_bytes: int = Field(4_194_304, ge=1_000)

    # Where the contents of files are: `file:///folder`, `s3://bucket/folder`, or another URL that
    # fsspec knows (unset: `files` in `home`). All processes have to see the same.
    files_url: str | None = None
    # How large a file may be, and how long it lives where its owner says nothing else.
    max_file_bytes: int = Field(2_000_000_000, ge=1_000)
    file_life_s: float = Field(30 * 86_400.0, gt=0)

    # How long ended jobs, and ended batches with their rows and results, are kept (unset: for
    # ever). An hour at least: whoever follows one has come to its end by then.
    keep_jobs_s: float | None = Field(None, ge=3600)
    keep_batches_s: float | None = Field(None, ge=3600)

    # Life of a channel's log after the end of its job.
    log_ttl_s: float = Field(300.0, ge=0.1)
    bulk_log_ttl_s: float = Field(60.0, ge=0.1)
    bulk_flush_s: float = Field(0.25, ge=0)

    # A reader that has heard nothing for this long asks the database.
    silence_s: float = Field(15.0, gt=0)

    # The gateway's open streams that are silent for so long say that they still are there.
    heartbeat_s: float = Field(15.0, gt=0)
    # A reader whose connection takes nothing for so long, or up to twice that, is cut off: it
    # resumes by its cursor.
    slow_reader_s: float = Field(30.0, gt=0)
    # How long a chat stream's head waits for the first delta: an error until then is a status.
    hold_s: float = Field(15.0, ge=0)
    # How long a foreground job goes on whose client has gone.
    abandoned_s: float = Field(5.0, ge=0)
    # How long a request's head, and then its body, may take to arrive.
    head_timeout_s: float = Field(20.0, gt=0)
    body_timeout_s: float = Field(30.0, gt=0)
    # How many jobs of one tenant and lane may wait.
    max_queued: int = Field(100_000, ge=1)
    # Signs read tokens; unset: a file in `home`. Several gateways need the same.
    token_secret: SecretStr | None = Field(None, min_length=16)

    # Signs webhooks: `whsec_` and base64, as Standard Webhooks has it. Two, with a space between
    # them, while one takes the other's place. Gateways and workers need the same.
    webhook_secret: SecretStr | None = None
    # Whether webhooks may go to addresses that are not public, and by http.
    webhook_private: bool = False

    # Where each process serves its metrics: on a port of its own, on loopback where nothing else
    # is said. Unset: nowhere; 0 is any free port.
    metrics_port: int | None = Field(None, ge=0, le=65_535)
    metrics_host: str = "127.0.0.1"

    @field_validator("*")
    @classmethod
    def _duration_has_an_end(cls, value: object, info: ValidationInfo) -> object:
        is_duration = str(info.field_name).endswith("_s")
        if is_duration and isinstance(value, float) and value > LONGEST_S:
            raise ValueError(f"is more than {LONGEST_S:.0f} s, ten years; set a shorter time")
        return value

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _url_has_a_scheme(cls, url: str | None, info: ValidationInfo) -> str | None:
        schemes = REDIS_SCHEMES if info.field_name == "redis_url" else BROKER_SCHEMES
        if url is not None and not url.startswith(schemes):
            raise ValueError(f"begins with none of {', '.join(schemes)}")  # may hold a password
        return url

    @field_validator("files_url")
    @classmethod
    def _url_names_a_protocol(cls, url: str | None) -> str | None:
        if url is not None and not all(url.partition("://")[:2]):
            raise ValueError("names no protocol; write file:///folder or s3://bucket/folder")
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _secret_can_sign(cls, given: SecretStr | None) -> SecretStr | None:
        secrets = None if given is None else given.get_secret_value().split()
        if secrets is not None and not (secrets and all(map(_can_sign, secrets))):
            raise ValueError(
                f"is not {WEBHOOK_SECRET} and the base64 of {LEAST_SECRET} to {MOST_SECRET} random "
                "bytes; make one: echo whsec_$(openssl rand -base64 32)"
            )
        return given

    @model_validator(mode="after")
    def _settings_go_together(self) -> "Settings":
        if self.renew_s * 2 > self.lease_s:
            raise ValueError(
                f"{PREFIX}RENEW_S={self.renew_s:g} leaves no second try within "
                f"{PREFIX}LEASE_S={self.lease_s:g}; set it to at most half of the lease"
            )
        if self.broker_url and not (self.redis_url or self.broker_url.startswith(SHARED_SCHEMES)):
            raise ValueError(
                f"{PREFIX}BROKER_URL names a broker that cannot carry the live channel; "
                f"set {PREFIX}REDIS_URL as well"
            )
        if self.queue_type == "quorum" and not (self.broker_url or "").startswith(RABBITMQ_SCHEMES):
            raise ValueError(
                f"{PREFIX}QUEUE_TYPE=quorum is for RabbitMQ; "
                f"name it by {PREFIX}BROKER_URL=amqp://..., or leave {PREFIX}QUEUE_TYPE out"
            )
        return self

    @property
    def embedded_redis(self) -> bool:
        """Whether neither a Redis nor a broker is configured, so that a private one is used."""
        return not self.redis_url and not self.broker_url

    @property
    def embedded_database(self) -> bool:
        """Whether no database is configured, so that SQLite in `home` is used."""
        return not self.database_url

    @property
    def spool(self) -> Path:
        """Where ends of jobs wait, in a folder for each database."""
        return self.spool_folder or self.home / "spool"

    def deadline_s(self, lane: str) -> float:
        """Seconds from its earliest start that a job of the lane has, unless it says otherwise."""
        return self.bulk_deadline_s if lane == "bulk" else self.interactive_deadline_s

    @property
    def open_log_life_s(self) -> float:
        """Seconds a log lives that nobody closes: longer than an attempt and its rescue take."""
        return self.attempt_timeout_s + 3600

    def closed_log_life_s(self, lane: str) -> float:
        """Seconds that a finished job's log is kept."""
        return self.bulk_log_ttl_s if lane == "bulk" else self.log_ttl_s


def _can_sign(secret: str) -> bool:
    try:
        key = b64decode(secret.removeprefix(WEBHOOK_SECRET), validate=True)
    except ValueError:
        return False
    return secret.startswith(WEBHOOK_SECRET) and LEAST_SECRET <= len(key) <= MOST_SECRET


@cache
def load() -> Settings:
    """The process's settings.

    Raises:
        ConfigurationError: names the variable, what is wrong with its value, and why.
    """
    try:
        return Settings(_secrets_dir=secret_files.folder())
    except ValidationError as error:
        raise ConfigurationError("; ".join(_sentences(error))) from None
    except SettingsError as error:
        for name in Settings.model_fields:
            secret_files.value(f"{PREFIX}{name.upper()}")  # says which file it is, and why
        raise ConfigurationError(str(error)) from None


def _sentences(error: ValidationError) -> list[str]:
    return [_sentence(fault["loc"], fault["msg"]) for fault in error.errors(include_input=False)]


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    said = message.removeprefix("Value error, ")
    if not location:
        return said
    return f"{PREFIX}{str(location[0]).upper()}: {said}"
