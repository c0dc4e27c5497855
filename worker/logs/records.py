"""Records of the standard library's `logging`, ours and the libraries', made into lines.

Our own sentences begin with what they are about (`job job_01: ...`): where that was an argument of
the record, JSON has it as a field as well.
"""

import json
import logging
import re
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime

import msgspec
from structlog.stdlib import ProcessorFormatter

from worker.logs.withheld import places_of

Fields = MutableMapping[str, object]
# Makes one line of a record's or a transition's fields.
Line = Callable[[Fields], str]

_SUBJECT = re.compile(r"(job|batch|upstream) %s")
_encoder = msgspec.json.Encoder()


def formatter(line: Line) -> logging.Formatter:
    """A formatter that makes `line`'s lines of records."""
    return ProcessorFormatter(
        processors=[_of_record, lambda _logger, _name, fields: line(fields)],
        pass_foreign_args=True,
    )


def json_line(fields: Fields) -> str:
    """A JSON object; what is None is left out."""
    told = {name: value for name, value in fields.items() if value is not None}
    try:
        return _encoder.encode(told).decode()
    except UnicodeEncodeError:  # a lone surrogate, from a name that is no text
        return json.dumps(told)


def text_line(fields: Fields) -> str:
    """Time, level and sentence, for people."""
    moment = str(fields["time"])
    sentence = str(fields["event"])
    if failure := fields.get("exception"):
        sentence = f"{sentence}: {failure}"
    # Line breaks would let a message pass for another record, and escapes rule a terminal.
    if not sentence.isprintable():
        sentence = "".join(each if each.isprintable() else " " for each in sentence)
    return f"{moment[:10]} {moment[11:23]} {str(fields['level']).upper()} {sentence}"


def now(seconds: float | None = None) -> str:
    """The moment, or that of a POSIX time, in UTC and milliseconds."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"


def _of_record(_logger: object, _name: str, given: Fields) -> Fields:
    record = given["_record"]
    assert isinstance(record, logging.LogRecord)
    fields: Fields = {
        "time": now(record.created),
        "level": record.levelname.lower(),
        "event": given["event"],
        "logger": record.name,
    }
    subject = _SUBJECT.match(record.msg) if isinstance(record.msg, str) else None
    if subject and isinstance(arguments := given["positional_args"], tuple):
        fields[subject[1]] = str(arguments[0])
    # The words of exceptions may quote prompts, so what is told are the places.
    if isinstance(raised := given.get("exc_info"), tuple) and raised[1] is not None:
        fields["exception"] = places_of(raised[1])
    return fields
