"""A client that hides nothing: the bytes of one HTTP response, and how the connection ended."""

import asyncio
import inspect
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

PATIENCE_S = 10.0


class Reply(msgspec.Struct):
    """One response as it came over the socket.

    Attributes:
        status: None if the connection ended before the status line.
        headers: names in lower case.
        body: of a chunked response the chunks' contents, else what came.
        chunks: sizes of the HTTP chunks, in order; the last one, 0, included.
        end: `whole` if the body ended as HTTP demands, `cut` on FIN before that, `reset` on RST.
    """

    status: int | None
    headers: dict[str, str]
    body: bytes
    chunks: list[int]
    end: str

    @property
    def blocks(self) -> list[bytes]:
        """The event stream's blocks; lines have to end with LF."""
        return [block for block in self.body.split(b"\n\n") if block]

    @property
    def documents(self) -> list[Any]:
        """The JSON of every data block, [DONE] left out."""
        data = [block[6:] for block in self.blocks if block.startswith(b"data: ")]
        return [json.loads(item) for item in data if item != b"[DONE]"]

    @property
    def done(self) -> int:
        """How often [DONE] came."""
        return self.blocks.count(b"data: [DONE]")

    @property
    def text(self) -> str:
        """The content of choice 0."""
        return joined(self.documents)

    @property
    def finish_reasons(self) -> list[str]:
        """Of all choices, in the order they came."""
        choices = [choice for document in self.documents for choice in choices_of(document)]
        return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


def choices_of(document: Any) -> list[Any]:
    """The choices of a chunk; none for anything else."""
    return document.get("choices", []) if isinstance(document, dict) else []


def joined(documents: list[Any], choice: int = 0, field: str = "content") -> str:
    """The deltas of one field of one choice, concatenated."""
    parts = [
        part["delta"].get(field) or ""
        for document in documents
        for part in choices_of(document)
        if part["index"] == choice and "delta" in part
    ]
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def chat(model: str, prompt: str = "hello", **more: object) -> dict[str, object]:
    """A streaming request."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "stream": True, "messages": messages, **more}


def encoded(path: str, body: object, headers: dict[str, str] | None = None) -> bytes:
    """A POST request on the wire; the connection closes behind its response."""
    content = json.dumps(body).encode()
    fields = {
        "host": "localhost",
        "connection": "close",
        "content-length": str(len(content)),
        **(headers or {}),
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def post_raw(base_url: str, body: object, headers: dict[str, str] | None = None) -> Reply:
    """Send a chat-completions request and read the connection to its end."""
    url = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    received = bytearray()
    end = "cut"
    try:
        writer.write(encoded("/v1/chat/completions", body, headers))
        async with asyncio.timeout(PATIENCE_S):
            while piece := await reader.read(65536):
                received += piece
    except ConnectionResetError:
        end = "reset"
    finally:
        writer.close()
    return parse(bytes(received), end)


def parse(received: bytes, end: str) -> Reply:
    """Take a response apart; `end` is how the connection ended if the body is not whole."""
    if not received:
        return Reply(None, {}, b"", [], end)
    head, _, rest = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    status = int(status_line.split()[1])
    if "content-length" in headers:
        whole = len(rest) == int(headers["content-length"])
        return Reply(status, headers, rest, [], "whole" if whole else end)
    if "transfer-encoding" not in headers:
        return Reply(status, headers, rest, [], "whole" if end == "cut" else end)
    body, chunks = _unchunk(rest)
    return Reply(status, headers, body, chunks, "whole" if chunks[-1:] == [0] else end)


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition, which may be a coroutine function, that something else brings about."""
    async with asyncio.timeout(patience_s):
        while not await _answer(condition):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.005)


async def _answer(condition: Callable[[], object]) -> object:
    answer = condition()
    return await answer if inspect.isawaitable(answer) else answer


def _unchunk(data: bytes) -> tuple[bytes, list[int]]:
    body, sizes, start = bytearray(), [], 0
    while (line_end := data.find(b"\r\n", start)) != -1:
        size = int(data[start:line_end], 16)
        sizes.append(size)
        body += data[line_end + 2 : line_end + 2 + size]
        start = line_end + 2 + size + 2
    return bytes(body), sizes
