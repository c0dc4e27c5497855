"""Faults that report an error under HTTP 200, in every shape seen in the wild."""

from worker.simulator.chunks import DONE, encode
from worker.simulator.completion import Completion
from worker.simulator.faults.fault import Fault
from worker.simulator.steps import Event, Head, Steps, document, until_delta

_OVERLOADED = b'{"message":"The engine is currently overloaded","type":"server_error","code":%b}'
_SERVER = _OVERLOADED % b'"server_is_overloaded"'
_BARE = (
    b'{"code":"rate_limit_exceeded","message":"Rate limit reached","param":null,"type":"requests"}'
)

# Name, sentence, and the bytes that follow the deltas.
_SHAPES: tuple[tuple[str, str, bytes], ...] = (
    (
        "error-data",
        "data with an error object, then [DONE] (vLLM, SGLang, OpenAI).",
        b'data: {"error":%b}\n\n' % _SERVER + DONE,
    ),
    (
        "error-code-int",
        "data with an error whose code is the number 500, then [DONE] (vLLM).",
        b'data: {"error":%b}\n\n' % (_OVERLOADED % b"500") + DONE,
    ),
    (
        "error-event",
        "event: error with the error object wrapped.",
        b'event: error\ndata: {"error":%b}\n\n' % _SERVER,
    ),
    (
        "error-event-bare",
        "event: error with the bare error (OpenAI's ErrorEvent).",
        b"event: error\ndata: %b\n\n" % _BARE,
    ),
    (
        "error-anthropic",
        "event: error of type overloaded_error (Anthropic).",
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
        b'"message":"Overloaded"}}\n\n',
    ),
    (
        "error-responses",
        "a flat object of type error, without an event line (Responses API).",
        b'data: {"type":"error","code":"rate_limit_exceeded","message":"Rate limit reached",'
        b'"param":null,"sequence_number":3}\n\n',
    ),
    (
        "error-flat",
        "a flat object whose object is error, then [DONE] (old vLLM, Mistral).",
        b'data: {"object":"error","message":"Internal server error",'
        b'"type":"InternalServerError","param":null,"code":500}\n\n' + DONE,
    ),
    (
        "error-string",
        "an error that is a string (TGI, Ollama).",
        b'data: {"error":"Model is overloaded","error_type":"overloaded"}\n\n',
    ),
    (
        "error-list",
        "an error object inside a list (Gemini).",
        b'data: [{"error":{"code":503,"message":"The model is overloaded.",'
        b'"status":"UNAVAILABLE"}}]\n\n',
    ),
    (
        "error-field",
        "an SSE field named error, then [DONE] (llama.cpp before September 2025).",
        b'error: {"code":500,"message":"Compute error.","type":"server_error"}\n\n' + DONE,
    ),
    (
        "error-tgi",
        "an error with http_status_code 422, then [DONE] (TGI).",
        b'data: {"error":{"message":"Model is overloaded","http_status_code":422}}\n\n' + DONE,
    ),
    (
        "error-litellm",
        "an error whose type is the string None, and no [DONE] (LiteLLM proxy).",
        b'data: {"error":{"message":"litellm.InternalServerError: upstream failed","type":"None",'
        b'"param":"None","code":"500"}}\n\n',
    ),
    (
        "error-azure",
        "an error with an innererror from the content filter (Azure).",
        b'data: {"error":{"message":"The response was filtered.","type":null,"param":"prompt",'
        b'"code":null,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}\n\n',
    ),
    (
        "error-metadata",
        "an error with the provider's own one in metadata.raw (OpenRouter).",
        b'data: {"error":{"code":502,"message":"Provider returned error","metadata":'
        b'{"raw":"{\\"error\\":{\\"message\\":\\"overloaded\\"}}"}},"choices":[]}\n\n',
    ),
    (
        "error-nested",
        "an error whose message is a JSON document with the error.",
        b'data: {"error":{"message":"{\\"error\\":{\\"code\\":503,\\"status\\":\\"UNAVAILABLE\\",'
        b'\\"message\\":\\"The model is overloaded.\\"}}","code":null,"type":null}}\n\n',
    ),
    (
        "error-detail",
        "a FastAPI detail instead of a chunk.",
        b'data: {"detail":"Internal Server Error"}\n\n',
    ),
)


def _shape(name: str, sentence: str, tail: bytes) -> Fault:
    def break_off(steps: Steps, completion: Completion) -> Steps:
        yield from until_delta(steps, completion.strike_at)
        yield Event(tail)

    return Fault(name, f"In mid-stream {sentence}", break_off)


def _groq(steps: Steps, completion: Completion) -> Steps:
    """Groq puts the reason for an early end into `x_groq.error`, beside the choices."""
    yield from until_delta(steps, completion.strike_at)
    more = b',"x_groq":{"id":"req_simulated","error":"over capacity"}'
    yield Event(completion.chunks.delta(0, b"{}", more=more))
    yield Event(DONE)


def _openrouter(steps: Steps, completion: Completion) -> Steps:
    yield from until_delta(steps, completion.strike_at)
    error = b',"error":{"code":"server_error","message":"Provider disconnected unexpectedly"}'
    last = completion.chunks.delta(0, b'{"content":""}', "error", error)
    yield Event(last, finish=(0, "error"))
    yield Event(DONE)


def _network(steps: Steps, completion: Completion) -> Steps:
    yield from until_delta(steps, completion.strike_at)
    native = b'{"index":0,"delta":{},"finish_reason":"stop","native_finish_reason":"network_error"}'
    yield Event(completion.chunks.chunk(b"[%b]" % native), finish=(0, "stop"))
    yield Event(DONE)


def _ollama(steps: Steps, completion: Completion) -> Steps:
    """Ollama unmarshals its own error line into an empty chunk, and the error's text is lost."""
    yield from until_delta(steps, completion.strike_at)
    yield Event(completion.chunks.delta(0, b'{"role":"assistant","content":""}'))


def _late(steps: Steps, _completion: Completion) -> Steps:
    for step in steps:
        if isinstance(step, Event) and step.data == DONE:
            yield Event(b'data: {"error":%b}\n\n' % _SERVER)
        yield step


def _json(_steps: Steps, _completion: Completion) -> Steps:
    return document(200, b'{"error":{"code":502,"message":"Provider returned an invalid reply"}}')


def _json_list(_steps: Steps, _completion: Completion) -> Steps:
    body = [
        {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    ]
    return document(200, encode(body))


def _json_completion(_steps: Steps, completion: Completion) -> Steps:
    return completion.whole()


def finish_fault(reason: str) -> Fault:
    """`finish-REASON`: that finish_reason at the place where the fault strikes."""

    def finish(steps: Steps, completion: Completion) -> Steps:
        yield from until_delta(steps, completion.strike_at)
        for choice in range(completion.choices):
            last = completion.chunks.delta(choice, b"{}", reason)
            yield Event(last, finish=(choice, reason))
        yield Event(DONE)

    return Fault(f"finish-{reason}", f"The stream ends with finish_reason {reason}.", finish)


def _html(_steps: Steps, _completion: Completion) -> Steps:
    page = b"<!doctype html><title>Checking your browser</title>"
    yield Head(200, {"content-type": "text/html"}, len(page))
    yield Event(page)


IN_STREAM = (
    *(_shape(*shape) for shape in _SHAPES),
    Fault("error-groq", "In mid-stream x_groq.error, then [DONE] (Groq).", _groq),
    Fault("error-openrouter", "finish_reason error and an error object (OpenRouter).", _openrouter),
    Fault(
        "error-network",
        "A benign finish_reason beside native_finish_reason network_error.",
        _network,
    ),
    Fault("error-ollama", "An empty chunk, then a clean end; the error is lost (Ollama).", _ollama),
    Fault("late-error", "An error after finish_reason and before [DONE].", _late),
    Fault("json-error", "HTTP 200 with a JSON error.", _json, streams_only=False),
    Fault("json-list", "HTTP 200 with a JSON list of an error.", _json_list, streams_only=False),
    Fault("json-completion", "A whole completion, not streamed.", _json_completion, once=False),
    Fault("html", "HTTP 200 with an HTML page.", _html, streams_only=False),
)
