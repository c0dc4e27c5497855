"""What comes in and goes out, as JSON Schema 2020-12; limits and words are the code's own."""

from collections.abc import Iterable, Mapping

import msgspec

from models import JobState, Lane
from worker.channel.events import ChannelEvent
from worker.gateway.jobs import MOST_SUBMITTED, MOST_TOKEN_S, TOKEN_S
from worker.openai.responses.parameters import OURS, SAME
from worker.request.body import MODEL_NAME, MOST_MESSAGES, ROLES
from worker.request.envelope import (
    ID_PATTERN,
    IDEMPOTENCY_KEY,
    METADATA_KEY,
    METADATA_PAIRS,
    METADATA_VALUE,
)

Schema = dict[str, object]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
COUNT: Schema = {"type": "integer", "minimum": 1}


def ref(name: str) -> Schema:
    """The schema of that name among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def a_list(items: Schema, **more: object) -> Schema:
    """A list of such items."""
    return {"type": "array", "items": items, **more}


def one_of(words: Iterable[str]) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": [str(word) for word in words]}


def maybe(schema: Schema) -> Schema:
    """That, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def an_object(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    """An object with these properties, and perhaps others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
    }


def closed(schema: Schema) -> Schema:
    """The object without any other property."""
    return {**schema, "additionalProperties": False}


ID: Schema = {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"}
KEY: Schema = {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY}
METADATA: Schema = {
    "type": "object",
    "maxProperties": METADATA_PAIRS,
    "propertyNames": {"maxLength": METADATA_KEY},
    "additionalProperties": {"type": "string", "maxLength": METADATA_VALUE},
}
MODEL: Schema = {"type": "string", "minLength": 1, "maxLength": MODEL_NAME}
PART = an_object({"type": TEXT})
CONTENT: Schema = {"anyOf": [TEXT, a_list(PART)]}
MESSAGE: Schema = {
    "type": "object",
    "required": ["role"],
    "properties": {"role": one_of(ROLES), "content": maybe(CONTENT)},
    "allOf": [
        {
            "if": {"properties": {"role": {"enum": [r for r in ROLES if r != "assistant"]}}},
            "then": {"required": ["content"], "properties": {"content": CONTENT}},
        },
        {
            "if": {"properties": {"role": {"const": "tool"}}},
            "then": {"required": ["tool_call_id"], "properties": {"tool_call_id": TEXT}},
        },
    ],
}
# Of each parameter that `worker.request.body` looks at; others are passed on as they are.
PARAMETERS: Mapping[str, Schema] = {
    "n": {"type": "integer", "minimum": 1, "maximum": 128},
    "max_tokens": COUNT,
    "max_completion_tokens": COUNT,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "seed": WHOLE,
    "logprobs": FLAG,
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    "stop": {"anyOf": [TEXT, {"type": "array"}]},
    "tools": {"type": "array"},
    "tool_choice": {"anyOf": [TEXT, OBJECT]},
    "parallel_tool_calls": FLAG,
    "response_format": OBJECT,
    "stream_options": OBJECT,
    "logit_bias": OBJECT,
    "user": TEXT,
    "metadata": OBJECT,
    "reasoning_effort": TEXT,
}
CHAT = an_object(
    {"model": MODEL, "messages": a_list(ref("Message"), minItems=1, maxItems=MOST_MESSAGES)},
    **{name: maybe(schema) for name, schema in PARAMETERS.items()},
)
JOB_REQUEST = closed(
    an_object(
        {"request": CHAT},
        id=maybe(ID),
        idempotency_key=maybe(KEY),
        lane=maybe(one_of(Lane)),
        scheduled_at=maybe(MOMENT),
        deadline_at=maybe(MOMENT),
        metadata=maybe(METADATA),
        webhook=maybe({"type": "string", "format": "uri"}),
    )
)
ITEM = an_object({}, type=TEXT)
RESPONSE_PARAMETERS: Mapping[str, Schema] = {
    "background": FLAG,
    "include": a_list(TEXT),
    "input": {"anyOf": [TEXT, a_list(ITEM)]},
    "instructions": TEXT,
    "max_output_tokens": COUNT,
    "metadata": METADATA,
    "previous_response_id": TEXT,
    "reasoning": OBJECT,
    "store": FLAG,
    "stream": FLAG,
    "stream_options": OBJECT,
    "text": OBJECT,
    "tool_choice": {"anyOf": [TEXT, OBJECT]},
    "tools": a_list(OBJECT),
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    "truncation": one_of(["disabled"]),
    **{name: PARAMETERS[name] for name in SAME if name in PARAMETERS},
}
RESPONSE_REQUEST = closed(
    an_object(
        {"model": MODEL},
        **{
            name: maybe(RESPONSE_PARAMETERS.get(name, TEXT))
            for name in (*SAME, *OURS)
            if name != "model"
        },
    )
)
JOB = closed(
    an_object(
        {
            "id": TEXT,
            "object": {"const": "job"},
            "state": one_of(JobState),
            "lane": one_of(Lane),
            "model": TEXT,
            "upstream": maybe(TEXT),
            "attempt": WHOLE,
            "failures": WHOLE,
            "throttles": WHOLE,
            "output_text": maybe(TEXT),
            "output": maybe(a_list(OBJECT)),
            "finish_reason": maybe(TEXT),
            "unverified": maybe(FLAG),
            "usage": maybe(OBJECT),
            "cost": maybe(NUMBER),
            "error": maybe(
                an_object(
                    {
                        "category": TEXT,
                        "code": maybe(TEXT),
                        "status": maybe(WHOLE),
                        "message": maybe(TEXT),
                    }
                )
            ),
            "cursor": {"type": "string", "pattern": r"^\d+-\d+$"},
            "metadata": OBJECT,
            "batch_id": maybe(TEXT),
            "custom_id": maybe(TEXT),
            "retry_of": maybe(TEXT),
            "created_at": MOMENT,
            "scheduled_at": maybe(MOMENT),
            "started_at": maybe(MOMENT),
            "first_delta_at": maybe(MOMENT),
            "finished_at": maybe(MOMENT),
            "deadline_at": maybe(MOMENT),
        }
    )
)
FAULT = an_object({"message": TEXT, "type": TEXT, "param": maybe(TEXT), "code": maybe(TEXT)})
DEPENDENCY = an_object({"ok": FLAG, "reason": maybe(TEXT)})


def a_page(kind: str) -> Schema:
    """A page of a listing."""
    listed: dict[str, Schema] = {
        "object": {"const": "list"},
        "data": a_list(ref(kind)),
        "has_more": FLAG,
    }
    return an_object(listed)


def an_event(data: Schema, *fields: str) -> Schema:
    """A server-sent event, whose data is JSON; the last one of a chat is `[DONE]`."""
    told: Schema = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return an_object({"data": told}, **dict.fromkeys(fields, TEXT))


def _with(schema: Schema, **properties: Schema) -> Schema:
    found = schema["properties"]
    assert isinstance(found, dict)
    return {**schema, "properties": {**found, **properties}}


(_EVENT,), _EVENTS = msgspec.json.schema_components(
    [ChannelEvent],
    ref_template="#/components/schemas/{name}",
    schema_hook=lambda _: {"description": "any JSON"},  # of `object`
)
# What is no job request has its error at its place among the answers; the others are accepted.
ONE_OF_MANY: Schema = {"anyOf": [ref("JobRequest"), {}]}
# Schemas that have a name; those of files and of batches have modules of their own.
COMPONENTS: Mapping[str, Schema] = {
    "Error": an_object({"error": FAULT}),
    "Message": MESSAGE,
    "ChatRequest": _with(CHAT, stream=maybe(FLAG)),
    "JobRequest": JOB_REQUEST,
    "JobRequests": closed(
        an_object({"jobs": a_list(ONE_OF_MANY, minItems=1, maxItems=MOST_SUBMITTED)})
    ),
    "Job": JOB,
    "JobPage": a_page("Job"),
    "JobsAccepted": an_object(
        {
            "object": {"const": "list"},
            "data": a_list({"anyOf": [ref("Job"), ref("JobRefused")]}),
        }
    ),
    "JobRefused": an_object({"object": {"const": "error"}, "error": FAULT}),
    "TokenRequest": an_object(
        {},
        expires_in_s={
            "type": "number",
            "minimum": 1,
            "maximum": MOST_TOKEN_S,
            "default": TOKEN_S,
        },
    ),
    "Token": an_object(
        {"object": {"const": "token"}, "token": TEXT, "expires_at": WHOLE, "url": TEXT}
    ),
    "Deleted": an_object({"id": TEXT, "object": TEXT, "deleted": {"const": True}}),
    "Model": an_object(
        {"id": TEXT, "object": {"const": "model"}, "created": WHOLE, "owned_by": TEXT}
    ),
    "Models": an_object({"object": {"const": "list"}, "data": a_list(ref("Model"))}),
    "Completion": an_object(
        {
            "id": TEXT,
            "object": {"const": "chat.completion"},
            "created": WHOLE,
            "model": TEXT,
            "choices": a_list(
                an_object({"index": WHOLE, "message": OBJECT, "finish_reason": TEXT})
            ),
        },
        usage=OBJECT,
    ),
    "ResponseRequest": RESPONSE_REQUEST,
    "Response": an_object(
        {
            "id": TEXT,
            "object": {"const": "response"},
            "created_at": WHOLE,
            "status": one_of(JobState),
            "model": TEXT,
            "output": a_list(OBJECT),
            "error": maybe(an_object({"code": TEXT, "message": TEXT})),
            "incomplete_details": maybe(OBJECT),
            "usage": maybe(OBJECT),
            "metadata": OBJECT,
        }
    ),
    "InputItems": an_object(
        {
            "object": {"const": "list"},
            "data": a_list(OBJECT),
            "first_id": maybe(TEXT),
            "last_id": maybe(TEXT),
            "has_more": FLAG,
        }
    ),
    "Alive": an_object({"status": {"const": "ok"}}),
    "Readiness": an_object(
        {
            "status": one_of(["ready", "unready"]),
            "dependencies": an_object({"database": DEPENDENCY, "redis": DEPENDENCY}),
        }
    ),
    "JobEvent": an_event(_EVENT, "id", "event"),
    "ChunkEvent": an_event(OBJECT),
    "ResponseEvent": an_event(OBJECT, "event"),
    **_EVENTS,
}
