"""What the processes of this program log, and what they never do.

One line for a record, to standard error: time, level, message. The arguments of the task
`deltaworks.submit` are prompts, and Celery quotes the bodies of messages it cannot use: those
records are replaced. Libraries say what is wrong; what they do well they keep to themselves.
"""

import logging
import sys

from worker.errors import InvalidRequest

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
OURS = ("worker", "models")


class OneLine(logging.Formatter):
    """One line a record, but for a traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Line breaks in a message would let it pass for another record."""
        return super().formatMessage(record).replace("\n", " ")


class Withheld(logging.Filter):
    """Replaces the records in which Celery quotes a message's body, headers or arguments."""

    def __init__(self) -> None:
        super().__init__()
        from celery.app.trace import LOG_REJECTED
        from celery.worker.consumer import consumer

        from worker.app import SUBMIT

        self._submit = SUBMIT
        self._rejected = LOG_REJECTED
        quoting = vars(consumer)
        self._replaced = {
            quoting["UNKNOWN_FORMAT"]: "a message was dropped: it is no task",
            quoting["UNKNOWN_TASK_ERROR"]: "a message was dropped: there is no such task",
            quoting["INVALID_TASK_ERROR"]: "a message was dropped: its task is malformed",
            quoting["MESSAGE_DECODE_ERROR"]: "a message was dropped: it cannot be decoded",
        }

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, without what it quotes."""
        sentence = self._replaced.get(str(record.msg)) or self._of_failure(record)
        if sentence is None and str(record.msg).startswith("Couldn't convert ETA"):
            sentence = "a message was dropped: its eta is no moment"
        if sentence is not None:
            record.msg, record.args, record.exc_info = sentence, (), None
        elif record.msg == self._rejected:
            record.exc_info = None  # it goes back to its queue; the reason is in the message
        return True

    def _of_failure(self, record: logging.LogRecord) -> str | None:
        # A call with arguments that do not fit is an error that names them.
        call = record.args
        if record.name != "celery.app.trace" or not isinstance(call, dict):
            return None
        if call.get("name") != self._submit or "exc" not in call:
            return None
        return f"a message to {self._submit} failed: {str(call['exc']).partition('(')[0]}"


class Once(logging.Filter):
    """Lets each message pass once: people watch, and a server that is away stays so a while."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is new."""
        message = record.getMessage()
        new = message not in self._seen
        self._seen.add(message)
        return new


def log_as_process(level: str) -> None:
    """Logging of a worker or beat: `level` is for our own records; libraries' are warnings.

    Raises:
        InvalidRequest: there is no such level.
    """
    if level not in LEVELS:
        raise InvalidRequest("--log-level", f"is {level[:40]!r}", f"use one of {', '.join(LEVELS)}")
    from celery.signals import setup_logging

    # Celery leaves logging alone where somebody listens to this signal.
    setup_logging.connect(_nothing_to_set_up)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(Withheld())
    _install(handler, LEVELS[level])


def log_as_command() -> None:
    """Logging of a command that people watch: warnings, each once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("deltaworks: %(message)s"))
    handler.addFilter(Once())
    _install(handler, logging.WARNING)


def _install(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)


def _nothing_to_set_up(**_: object) -> None:
    return None
