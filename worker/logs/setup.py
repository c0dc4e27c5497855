"""Who logs what to where."""

import logging
import sys
import threading
from typing import Any, TextIO

from worker import settings, transitions
from worker.errors import InvalidRequest
from worker.logs.withheld import Once, Withheld, places_of

logger = logging.getLogger(__name__)

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
OURS = ("worker", "models")


def log_as_process(level: str | None) -> None:
    """Logging of a worker, beat or gateway, to standard error.

    Args:
        level: of our own records, else `DELTAWORKS_LOG_LEVEL`; libraries' are warnings.

    Raises:
        InvalidRequest: there is no such level.
    """
    level = level or settings.load().log_level or "info"
    if level not in LEVELS:
        raise InvalidRequest("--log-level", f"is {level[:40]!r}", f"use one of {', '.join(LEVELS)}")
    from celery.signals import setup_logging

    # Celery leaves logging alone where somebody listens to this signal.
    setup_logging.disconnect(log_as_celery)
    setup_logging.connect(_nothing_to_set_up)
    _log_lines(sys.stderr, LEVELS[level], max(LEVELS[level], logging.WARNING))


def log_as_celery(loglevel: int | None = None, logfile: str | None = None, **_: object) -> None:
    """Logging where Celery's own command runs the worker: what to where as it was told, but our
    lines. For Celery's signal `setup_logging`.

    Args:
        loglevel: of all records; `DELTAWORKS_LOG_LEVEL` goes before it for our own.
        logfile: to append to instead of standard error.
    """
    stream = open(logfile, "a", encoding="utf-8") if logfile else sys.stderr  # noqa: PTH123, SIM115
    given, ours = loglevel or logging.WARNING, settings.load().log_level
    _log_lines(stream, LEVELS[ours] if ours else given, given)


def log_as_command() -> None:
    """Logging of a command that people watch: warnings, each once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("deltaworks: %(message)s"))
    handler.addFilter(Once())
    _install(handler, logging.WARNING, logging.WARNING)


class _OneLine(logging.Formatter):
    """One line a record, and one for where it failed."""

    def formatException(self, ei: tuple[Any, ...]) -> str:
        """The words of an exception may quote a prompt."""
        return places_of(ei[1])

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Line breaks in a message would let it pass for another record."""
        return super().formatMessage(record).replace("\n", " ")


def _log_lines(stream: TextIO, ours: int, others: int) -> None:
    from worker.logs.records import formatter, json_line, text_line
    from worker.logs.steps import Steps, step_line

    chosen = settings.load().log_format
    as_json = chosen == "json" or (chosen == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(json_line if as_json else text_line))
    handler.addFilter(Withheld())
    _install(handler, ours, others)
    # What nobody catches is a line as well, and not a traceback with its words.
    sys.excepthook = lambda _kind, error, _traceback: _uncaught(error)
    threading.excepthook = lambda fallen: _uncaught(fallen.exc_value)
    transitions.observe(Steps(stream, ours, json_line if as_json else step_line))


def _install(handler: logging.Handler, ours: int, others: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(others)
    logging.captureWarnings(True)
    for name in OURS:
        logging.getLogger(name).setLevel(ours)


def _uncaught(error: BaseException | None) -> None:
    if isinstance(error, Exception):  # else somebody ends it
        logger.critical("nobody caught a fault", exc_info=error)


def _nothing_to_set_up(**_: object) -> None:
    return None
