"""How a command ends: an exit code for each outcome, and one sentence for each error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from worker.errors import (
    ConfigurationError,
    Conflict,
    DeltaworksError,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    SchemaOutdated,
)

# What the caller can put right, by other arguments or another configuration.
USAGE_ERRORS = (
    InvalidRequest, Conflict, NotFound, InvalidCursor, ConfigurationError, SchemaOutdated,
)  # fmt: skip


class ExitCode(IntEnum):
    """The outcome of a job, or of the command. INTERRUPTED is what shells expect of SIGINT."""

    COMPLETED = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    CANCELLED = 4
    DETACHED = 5
    INTERRUPTED = 130


def outcome(state: str) -> ExitCode:
    """The exit code for a job in a terminal state."""
    return ExitCode[state.upper()]


@contextmanager
def sentences_for_errors() -> Iterator[None]:
    """End the process with a sentence and an exit code where the block raises.

    What is left to raise a traceback is a fault of this program's.
    """
    try:
        yield
    except KeyboardInterrupt:
        _end("interrupted", ExitCode.INTERRUPTED)
    except DeltaworksError as error:
        usage = isinstance(error, USAGE_ERRORS)
        _end(str(error), ExitCode.USAGE if usage else ExitCode.FAILED)
    except BrokenPipeError:
        drop_output()
        sys.exit(ExitCode.DETACHED)
    except Exception as error:
        sentence = _failure_of_infrastructure(error)
        if sentence is None:
            raise
        _end(sentence, ExitCode.FAILED)


def drop_output() -> None:
    """Nobody reads standard output any more: have what is still to be flushed go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _end(sentence: str, code: ExitCode) -> None:
    sys.stderr.write(f"deltaworks: {sentence}\n")
    sys.exit(code)


def _failure_of_infrastructure(error: Exception) -> str | None:
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    from worker.store import complaint

    said = complaint(error)
    if said is not None:
        return f"the database cannot be used: {said}"
    if isinstance(error, RedisError):
        return f"Redis cannot be used: {error}"
    if isinstance(error, OperationalError):
        return f"the broker cannot be used: {error}"
    return str(error) if isinstance(error, OSError) else None
