"""What is kept out of the lines, and what is put in its place."""

import logging
import traceback
from collections.abc import Iterator

# How many places of a traceback are told, innermost last; and of how many exceptions in a chain.
PLACES, CHAINED = 8, 4


class Withheld(logging.Filter):
    """Replaces the records in which libraries quote messages, arguments or exceptions."""

    def __init__(self) -> None:
        super().__init__()
        from celery.app.trace import LOG_REJECTED
        from celery.worker.consumer import consumer

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
        sentence = self._replaced.get(str(record.msg))
        if sentence is None and str(record.msg).startswith("Couldn't convert ETA"):
            sentence = "a message was dropped: its eta is no moment"
        if sentence is not None:
            record.msg, record.args, record.exc_info = sentence, (), None
        elif record.msg == self._rejected:
            record.exc_info = None  # it goes back to its queue; the reason is in the message
        elif sentence := _of_failure(record) or _of_loop(record):
            record.msg, record.args = sentence, ()
        return True


def _of_failure(record: logging.LogRecord) -> str | None:
    """What Celery says of a task that raised: it quotes the exception, which may name arguments."""
    call = record.args
    if record.name != "celery.app.trace" or not isinstance(call, dict) or "exc" not in call:
        return None
    raised = str(call["exc"]).partition("(")[0]
    if "ignored" in record.msg or "rejected" in record.msg:
        return None
    return f"a message to {call.get('name')} failed: {raised}"


def _of_loop(record: logging.LogRecord) -> str | None:
    """What asyncio says of a fault: it quotes the callback's arguments and the task's result."""
    if record.name != "asyncio" or not record.exc_info:
        return None
    return record.getMessage().partition("\n")[0].partition("(")[0]


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


def places_of(error: BaseException) -> str:
    """A traceback without words and values: `ValueError at worker/x.py:7 f > worker/y.py:9 g`.

    What it was caused by, or came up while another was handled, follows after `from`.
    """
    return " from ".join(_told(each) for each in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(CHAINED):
        if error is None:
            return
        yield error
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)


def _told(error: BaseException) -> str:
    # The system's own sentence quotes nobody.
    said = f" ({error.strerror})" if isinstance(error, OSError) and error.errno else ""
    frames = traceback.extract_tb(error.__traceback__)[-PLACES:]
    places = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__}{said}" + (f" at {places}" if places else "")
