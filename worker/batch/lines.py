"""The lines of a batch's file: valid rows, and what is wrong with the others.

{"custom_id": "...", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import asdict

from models import Batch
from worker.batch.duplicates import FirstUse
from worker.batch.models import Faulty, Models
from worker.batch.request import CHAT, endpoint_of
from worker.catalog import Catalog
from worker.errors import InvalidRequest, ModelNotServed
from worker.files.storage import Readable
from worker.ids import new_job_id
from worker.openai.responses.translation import translated
from worker.request import MAX_DEPTH, body_of, metadata_of, shown
from worker.store import Row
from worker.text import repair, repair_document

MOST_FAULTS = 1_000
CUSTOM_ID = 255
# Rows and bytes of a portion: what is read, and then inserted, at a time.
PORTION_ROWS, PORTION_BYTES = 1_000, 4_000_000
# Of a line's bytes, so many are not its body's.
AROUND = 10_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a line, in OpenAI's words; `line` counts from 1. None: with the file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def document(self) -> dict[str, object]:
        """As a batch's `errors` hold it."""
        return asdict(self)


class Lines:
    """Reads a batch's file portion by portion; not the whole is ever in memory.

    Args:
        file: open, at its beginning.
        batch: whose file it is.
        catalog: the upstreams, one of which must serve each row's model.
        max_bytes: the largest body, in bytes of JSON.
        max_rows: rows of a file.

    Attributes:
        total: rows so far, valid or not.
        faults: what is wrong, the first thousand.
        over: whether nothing more is read: at the file's end, or where there is no sense in more.
    """

    def __init__(
        self, file: Readable, batch: Batch, catalog: Catalog, *, max_bytes: int, max_rows: int
    ) -> None:
        self._file = file
        self._batch = batch
        self._catalog = catalog
        self._max_bytes = max_bytes
        self._max_rows = max_rows
        self._first_use = FirstUse()
        self._models = Models(batch, catalog)
        self._line = 0
        self.total = 0
        self.faults: list[Fault] = []
        self.over = False

    @property
    def model(self) -> str | None:
        """The rows' model, if they name one only."""
        return self._models.model

    @property
    def reserve(self) -> float:
        """What the dearest row may cost; known for batches with `max_cost` only."""
        return self._models.reserve

    def portion(self) -> list[Row]:
        """The next valid rows, if there are any. Blocks: for a thread."""
        rows: list[Row] = []
        size = 0
        for line in self._lines():
            row = self._row(line)
            size += len(line)
            if row is not None:
                rows.append(row)
            if len(rows) >= PORTION_ROWS or size >= PORTION_BYTES:
                break
        return rows

    def _lines(self) -> Iterator[bytes]:
        most = self._max_bytes + AROUND
        while len(self.faults) < MOST_FAULTS and not self.over:
            line = self._file.readline(most + 1)
            if not line:
                self._end()
                return
            self._line += 1
            if self._line == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if len(line) > most:
                self._pass_over(line)
                continue
            if line := line.strip():
                yield line
        self.over = True

    def _pass_over(self, line: bytes) -> None:
        """Read on to the end of a line that is too long, without keeping it."""
        if not self._count():
            return
        message = f"has more than {self._max_bytes:,} bytes; send less in one request"
        self._note("request_too_large", message, None)
        while line and not line.endswith(b"\n"):
            line = self._file.readline(1 << 20)

    def _end(self) -> None:
        if not self.total and not self.faults:
            self.faults.append(Fault("empty_file", "the file has no rows; write one on each line"))
        self.over = True

    def _row(self, line: bytes) -> Row | None:
        if not self._count():
            return None
        try:
            return self._valid(line)
        except Faulty as fault:
            self._note(fault.code, fault.message, fault.param)
            return None

    def _count(self) -> bool:
        self.total += 1
        if self.total <= self._max_rows:
            return True
        message = f"the file has more than {self._max_rows:,} rows; split it"
        self.faults.append(Fault("too_many_tasks", message))
        self.over = True
        return False

    def _note(self, code: str, message: str, param: str | None) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(code, repair(message), self._line, param))

    def _valid(self, line: bytes) -> Row:
        given = _object(line)
        custom_id = self._custom_id(given.get("custom_id"))
        if given.get("method", "POST") != "POST":
            problem = f"method: is {shown(given['method'])}; write POST"
            raise Faulty("invalid_method", problem, "method")
        if endpoint_of(given.get("url")) != self._batch.endpoint:
            problem = f"url: is {shown(given.get('url'))}, the batch's endpoint is "
            problem += f"{self._batch.endpoint}; write that, or split the file"
            raise Faulty("url_mismatch", problem, "url")
        body = given.get("body")
        if not isinstance(body, dict):
            problem = f"body: is {shown(body)}; write the request as an object"
            raise Faulty("invalid_request", problem, "body")
        return self._request(custom_id, body, plain=_is_plain(line))

    def _custom_id(self, given: object) -> str:
        if not isinstance(given, str) or not 0 < len(given) <= CUSTOM_ID:
            problem = "is missing" if given is None else f"is {shown(given)}"
            message = f"custom_id: {problem}; give 1 to {CUSTOM_ID} characters"
            raise Faulty("invalid_custom_id", message, "custom_id")
        custom_id = repair(given)
        first = self._first_use.of(custom_id, self._line)
        if first != self._line:
            message = f"custom_id: is {shown(custom_id)} as in line {first}; give each row its own"
            raise Faulty("duplicate_custom_id", message, "custom_id")
        return custom_id

    def _request(self, custom_id: str, given: dict[str, object], *, plain: bool) -> Row:
        try:
            body, fields, labels = self._body(given, plain)
        except ModelNotServed as error:
            message = f"body.model: {error.problem}; {error.remedy}"
            raise Faulty("model_not_found", message, "body.model") from None
        except InvalidRequest as error:
            param = f"body.{error.field.removeprefix('request').removeprefix('.')}".rstrip(".")
            message = f"{param}: {error.problem}; {error.remedy}"
            raise Faulty("invalid_request", message, param) from None
        self._models.check(model := str(body["model"]), body)
        return Row(
            id=new_job_id(),
            number=self._line - 1,
            custom_id=custom_id,
            model=model,
            request=msgspec.json.encode(body).decode(),
            response_fields=None if fields is None else msgspec.json.encode(fields).decode(),
            labels=None if labels is None else msgspec.json.encode(labels).decode(),
        )

    def _body(
        self, given: dict[str, object], plain: bool
    ) -> tuple[dict[str, object], object, object]:
        """The chat-completions body, and of a response what it repeats of its request and its
        metadata. Those of a chat are its upstream's.
        """
        # A row's answer is read as a whole: how it comes is nobody's choice.
        asked = {k: v for k, v in given.items() if k not in ("stream", "stream_options")}
        if self._batch.endpoint == CHAT:
            return body_of(asked, self._catalog, self._max_bytes, plain=plain), None, None
        wish = translated(asked)
        if wish.previous is not None:
            raise InvalidRequest("previous_response_id", "is given in a batch", "send the items")
        fields = {name: repair_document(value) for name, value in wish.fields.items()}
        body = body_of(wish.body, self._catalog, self._max_bytes)
        return body, fields, metadata_of(wish.metadata) or None


def _is_plain(line: bytes) -> bool:
    """Whether nothing in the line can be in need of repair, or lie too deep.

    What is repaired can only be written as an escape, and what opens is counted at a glance.
    """
    return b"\\u" not in line and line.count(b"{") + line.count(b"[") <= MAX_DEPTH


def _object(line: bytes) -> dict[str, object]:
    try:
        found = msgspec.json.decode(line)
    except RecursionError:
        raise Faulty("invalid_json_line", "nests too deeply; flatten it", None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = f"is no JSON ({_reason(error)}); write one object on each line"
        raise Faulty("invalid_json_line", problem, None) from None
    if not isinstance(found, dict):
        raise Faulty("invalid_json_line", f"is {shown(found)}; write an object", None)
    return found


def _reason(error: Exception) -> str:
    """What the decoder says; of a byte that is no UTF-8 it would quote the line."""
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def documents(faults: Sequence[Fault]) -> list[dict[str, object]]:
    """Faults as a batch keeps them."""
    return [fault.document() for fault in faults]
