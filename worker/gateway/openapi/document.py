"""The OpenAPI document: operations and schemas in OpenAPI's words."""

from functools import cache

from worker.gateway.openapi.operations import COMPONENTS, OPERATIONS
from worker.gateway.openapi.schemas import ref
from worker.gateway.openapi.terms import JSON, MEANINGS, Answer, Operation, Parameter

# Which statuses an upstream's own error may have, nobody knows.
UPSTREAM = {"4XX": "The upstream's own error, in its own words.", "5XX": "The same."}
DESCRIPTION = """\
Queue prompts, follow their output live, and read it afterwards; also by OpenAI's own clients.
Every error has one shape: `{"error": {"message", "type", "param", "code"}}`."""


@cache
def document(version: str) -> dict[str, object]:
    """OpenAPI 3.1; `version` is the server's."""
    paths: dict[str, dict[str, object]] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(operation)
    scheme = {"type": "http", "scheme": "bearer", "description": "deltaworks keys create NAME"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Deltaworks", "version": version, "description": DESCRIPTION},
        "paths": paths,
        "components": {"schemas": COMPONENTS, "securitySchemes": {"key": scheme}},
    }


def _operation(operation: Operation) -> dict[str, object]:
    answers = {str(status): _answer(each) for status, each in operation.answers.items()}
    refusals = {str(status): _refusal(MEANINGS[status]) for status in operation.refusals}
    upstream = UPSTREAM if operation.upstream else {}
    described: dict[str, object] = {
        "operationId": operation.id,
        "tags": [operation.group],
        "summary": operation.summary,
        "parameters": [_parameter(each) for each in operation.parameters],
        # Answers of its own come first: a readiness of 503 is none of the common shape.
        "responses": refusals | answers | {k: _refusal(v) for k, v in upstream.items()},
        "security": [{"key": []}] if operation.scope else [],
    }
    if operation.scope:
        described["description"] = f"Needs the scope `{operation.scope}`."
    if operation.body:
        one, *others = operation.body
        schema = {"anyOf": [one, *others]} if others else one
        content = {operation.body_type: {"schema": schema}}
        described["requestBody"] = {"required": operation.body_required, "content": content}
    return described


def _parameter(parameter: Parameter) -> dict[str, object]:
    return {
        "in": parameter.place,
        "name": parameter.name,
        "schema": parameter.schema,
        "description": parameter.meaning,
        "required": parameter.required,
    }


def _answer(answer: Answer) -> dict[str, object]:
    content = {kind: {"schema": schema} for kind, schema in answer.content.items()}
    return {"description": answer.meaning, **({"content": content} if content else {})}


def _refusal(meaning: str) -> dict[str, object]:
    return {"description": meaning, "content": {JSON: {"schema": ref("Error")}}}
