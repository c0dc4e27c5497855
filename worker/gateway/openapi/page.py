"""The document for people: one page, without scripts, that loads nothing from anywhere."""

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from itertools import groupby

from worker.gateway.openapi.operations import COMPONENTS, OPERATIONS
from worker.gateway.openapi.schemas import Schema
from worker.gateway.openapi.terms import JSON, MEANINGS, Answer, Operation, Parameter

STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--accent:#2a7de1}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:2rem 1rem}
h1{margin:0}h2{margin:2.5rem 0 .5rem;border-bottom:1px solid var(--line)}
details{border:1px solid var(--line);border-radius:.5rem;margin:.5rem 0;padding:.5rem .8rem}
summary{cursor:pointer}summary b{display:inline-block;width:4.5rem;color:var(--accent)}
code,pre{font:.85rem/1.45 ui-monospace,monospace;background:var(--soft);border-radius:.3rem}
code{padding:.1rem .3rem}pre{padding:.7rem;overflow-x:auto}
table{border-collapse:collapse;width:100%;margin:.6rem 0}
td{vertical-align:top;padding:.25rem .6rem .25rem 0;border-top:1px solid var(--line)}
.of{opacity:.7;margin-left:.6rem}
"""
HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'",
    "x-content-type-options": "nosniff",
}
EXAMPLES = {
    "ChatRequest": '{"model": "MODEL", "messages": [{"role": "user", "content": "Hello"}]}',
    "ResponseRequest": '{"model": "MODEL", "input": "Hello", "background": true}',
    "JobRequest": '{"request": {"model": "MODEL", "messages": '
    '[{"role": "user", "content": "Hello"}]}}',
    "TokenRequest": '{"expires_in_s": 300}',
    "FileUpload": "-F purpose=batch -F file=@rows.jsonl",
    "BatchRequest": '{"input_file_id": "ID", "endpoint": "/v1/chat/completions"}',
    "BatchLimits": '{"max_cost": 2.5}',
    "BatchRetry": '{"categories": ["server"]}',
}


def page(version: str, address: str) -> str:
    """The page; `address` is where the reader has found it, for the commands on it."""
    return "".join(_page(version, address))


def _page(version: str, address: str) -> Iterator[str]:
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><style>{STYLE}</style>'
    yield '<meta name="viewport" content="width=device-width"><title>Deltaworks</title></head>'
    yield f"<body><h1>Deltaworks</h1><p>Version {escape(version)}, "
    yield "<a href='/openapi.json'>openapi.json</a></p><p>Every error is "
    yield "<code>{&quot;error&quot;: {message, type, param, code}}</code>.</p>"
    for group, members in groupby(OPERATIONS.items(), key=lambda item: item[1].group):
        yield f"<h2>{escape(group)}</h2>"
        for (method, path), operation in members:
            yield from _operation(method, path, operation, address)
    yield "<h2>Schemas</h2>"
    for name, schema in COMPONENTS.items():
        text = escape(json.dumps(schema, indent=2))
        yield f"<details id='{escape(name)}'><summary>{escape(name)}</summary>"
        yield f"<pre>{text}</pre></details>"
    yield "</body></html>"


def _operation(method: str, path: str, operation: Operation, address: str) -> Iterator[str]:
    yield f"<details id='{escape(operation.id)}'><summary><b>{method}</b> "
    yield f"<code>{escape(path)}</code>"
    yield f"<span class='of'>{escape(operation.summary)}</span></summary>"
    if operation.scope:
        yield f"<p>Needs a key with the scope <code>{escape(operation.scope)}</code>.</p>"
    if operation.body:
        yield f"<p>Body: {' or '.join(map(_name, operation.body))}</p>"
    if operation.parameters:
        yield f"<table>{''.join(map(_parameter, operation.parameters))}</table>"
    yield "<table>"
    for status, answer in operation.answers.items():
        yield _row(str(status), _answer(answer))
    for status in operation.refusals:
        if status not in operation.answers:
            yield _row(str(status), escape(MEANINGS[status]))
    if operation.upstream:
        yield _row("other", "The upstream's own error, in its own words.")
    yield f"</table><pre>{escape(_command(method, path, operation, address))}</pre></details>"


def _row(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _parameter(parameter: Parameter) -> str:
    return _row(
        f"<code>{escape(parameter.name)}</code>", escape(parameter.place), escape(parameter.meaning)
    )


def _answer(answer: Answer) -> str:
    kinds = [
        f"<code>{escape(kind)}</code> {_name(schema) if kind == JSON else ''}"
        for kind, schema in answer.content.items()
    ]
    return " ".join([escape(answer.meaning), *kinds])


def _name(schema: Schema) -> str:
    name = escape(str(schema.get("$ref", "")).rpartition("/")[2])
    return f"<a href='#{name}'>{name}</a>" if name else ""


def _command(method: str, path: str, operation: Operation, address: str) -> str:
    words = ["curl -sN"] + ([] if method == "GET" else [f"-X {method}"])
    if operation.scope:
        words.append("-H 'authorization: Bearer KEY'")
    if operation.body:
        example = EXAMPLES[str(operation.body[0]["$ref"]).rpartition("/")[2]]
        is_json = operation.body_type == JSON
        # A form's type is written by curl, which chooses the boundary.
        words.append(f"-H 'content-type: {JSON}' -d '{example}'" if is_json else example)
    url = address + path.replace("{id}", "ID")
    return " \\\n  ".join([*words, f"'{url}'"])
