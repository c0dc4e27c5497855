"""Each route of the gateway: what it takes, and each answer it can give."""

from collections.abc import Mapping

from models import JobState, Lane
from worker.gateway.abandonment import HEADER as ON_DISCONNECT
from worker.gateway.abandonment import WISHES
from worker.gateway.chat.routes import HOLD
from worker.gateway.events import MOST_JOBS
from worker.gateway.listing import ORDERS
from worker.gateway.openapi import batches, files, schemas
from worker.gateway.openapi.schemas import FLAG, KEY, TEXT, Schema, one_of, ref
from worker.gateway.openapi.terms import (
    EVENTS,
    HTML,
    JSON,
    LIMIT,
    READ,
    WRITE,
    Answer,
    Operation,
    Parameter,
    in_json,
    path_part,
)

JOB_ID, RESPONSE_ID = path_part("id", "The job's id."), path_part("id", "The response's id.")
IDEMPOTENCY = Parameter(
    "header", "idempotency-key", KEY, "The same key is the same job, however often it is sent."
)
LEAVING = Parameter(
    "header", ON_DISCONNECT, one_of(WISHES),
    "What becomes of the job when the client goes away: cancelled after some seconds, unless told.",
)  # fmt: skip
LAST_EVENT = Parameter("header", "last-event-id", TEXT, "The id of the last event that was heard.")
AFTER_EVENT = Parameter("query", "after", TEXT, "The same, where no header can be sent.")
STREAM = Answer("Events as they come, to the job's end.", {EVENTS: ref("JobEvent")})
OVER = Answer("There is nothing after this event: an EventSource stops.")

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): Operation(
        id="createChatCompletion", group="OpenAI", scope=WRITE,
        summary="A chat completion, in one piece or in chunks; queued as an interactive job.",
        parameters=(
            IDEMPOTENCY, LEAVING,
            Parameter("header", HOLD, one_of(["true", "false"]),
                      "Show only text of an attempt that has ended: none of it is taken back."),
        ),
        body=(ref("ChatRequest"),), errors=(404, 409), upstream=True,
        answers={200: Answer("The completion, or its chunks.",
                             {JSON: ref("Completion"), EVENTS: ref("ChunkEvent")})},
    ),
    ("GET", "/v1/models"): Operation(
        id="listModels", group="OpenAI", scope=READ,
        summary="The models of all upstreams that the key may use.",
        answers={200: in_json("The models.", "Models")},
    ),
    ("GET", "/v1/models/{id}"): Operation(
        id="retrieveModel", group="OpenAI", scope=READ, summary="One model.",
        parameters=(path_part("id", "The model's name."),),
        answers={200: in_json("The model.", "Model")},
    ),
    ("POST", "/v1/responses"): Operation(
        id="createResponse", group="OpenAI", scope=WRITE,
        summary="A response: at once with background, at its end without, or as a stream.",
        parameters=(IDEMPOTENCY, LEAVING),
        body=(ref("ResponseRequest"),), errors=(404, 409), upstream=True,
        answers={200: Answer("The response, or its events.",
                             {JSON: ref("Response"), EVENTS: ref("ResponseEvent")})},
    ),
    ("GET", "/v1/responses/{id}"): Operation(
        id="retrieveResponse", group="OpenAI", scope=READ,
        summary="A response as it stands, or its events from any of them on.",
        parameters=(
            RESPONSE_ID,
            Parameter("query", "stream", FLAG, "Its events instead."),
            Parameter("query", "starting_after", {"type": "integer", "minimum": 0},
                      "Only events after this sequence number."),
        ),
        errors=(400,),
        answers={200: Answer("The response, or its events.",
                             {JSON: ref("Response"), EVENTS: ref("ResponseEvent")})},
    ),
    ("DELETE", "/v1/responses/{id}"): Operation(
        id="deleteResponse", group="OpenAI", scope=WRITE,
        summary="Remove what a response was asked, and what it said.",
        parameters=(RESPONSE_ID,), errors=(409,),
        answers={200: in_json("It is removed.", "Deleted")},
    ),
    ("POST", "/v1/responses/{id}/cancel"): Operation(
        id="cancelResponse", group="OpenAI", scope=WRITE,
        summary="Cancel a background response; its status says whether that came in time.",
        parameters=(RESPONSE_ID,), errors=(400,),
        answers={200: in_json("The response.", "Response")},
    ),
    ("GET", "/v1/responses/{id}/input_items"): Operation(
        id="listInputItems", group="OpenAI", scope=READ, summary="What a response was asked.",
        parameters=(
            RESPONSE_ID, LIMIT,
            Parameter("query", "order", one_of(ORDERS), "The last one first: desc."),
            Parameter("query", "after", TEXT, "The id of the last item of the page before."),
        ),
        errors=(400,),
        answers={200: in_json("A page of items.", "InputItems")},
    ),
    **files.OPERATIONS,
    **batches.OPERATIONS,
    ("POST", "/v1/jobs"): Operation(
        id="submitJobs", group="Jobs", scope=WRITE,
        summary="Submit a job, or many in one call.",
        parameters=(IDEMPOTENCY,),
        body=(ref("JobRequest"), ref("JobRequests")), errors=(409,),
        answers={
            201: in_json("The job.", "Job"),
            200: in_json("Of many: each job, or why there is none.", "JobsAccepted"),
        },
    ),
    ("GET", "/v1/jobs"): Operation(
        id="listJobs", group="Jobs", scope=READ,
        summary="Jobs, newest first; also by their metadata: metadata[name]=value.",
        parameters=(
            Parameter("query", "state", {"type": "array", "items": one_of(JobState)},
                      "Only jobs in one of these states."),
            Parameter("query", "lane", one_of(Lane), "Only jobs of this lane."),
            Parameter("query", "after", TEXT, "The id of the last job of the page before."),
            LIMIT,
        ),
        errors=(400, 404),
        answers={200: in_json("A page of jobs.", "JobPage")},
    ),
    ("GET", "/v1/jobs/{id}"): Operation(
        id="retrieveJob", group="Jobs", scope=READ,
        summary="A job; while it runs with its text so far, and the cursor after it.",
        parameters=(JOB_ID,),
        answers={200: in_json("The job.", "Job")},
    ),
    ("DELETE", "/v1/jobs/{id}"): Operation(
        id="eraseJob", group="Jobs", scope=WRITE,
        summary="Remove what an ended job was asked and what it said; that it was stays.",
        parameters=(JOB_ID,), errors=(409,),
        answers={200: in_json("It is removed.", "Deleted")},
    ),
    ("POST", "/v1/jobs/{id}/cancel"): Operation(
        id="cancelJob", group="Jobs", scope=WRITE,
        summary="Cancel a job; its state says whether that came in time.",
        parameters=(JOB_ID,),
        answers={200: in_json("The job.", "Job")},
    ),
    ("POST", "/v1/jobs/{id}/retry"): Operation(
        id="retryJob", group="Jobs", scope=WRITE,
        summary="A new job with the request of one that has ended.",
        parameters=(JOB_ID, IDEMPOTENCY), errors=(400, 409),
        answers={201: in_json("The new job.", "Job")},
    ),
    ("POST", "/v1/jobs/{id}/token"): Operation(
        id="createReadToken", group="Jobs", scope=READ,
        summary="A token that opens this job's events to who cannot send a key, for a while.",
        parameters=(JOB_ID,), body=(ref("TokenRequest"),), body_required=False,
        answers={200: in_json("The token.", "Token")},
    ),
    ("GET", "/v1/jobs/{id}/events"): Operation(
        id="followJob", group="Events", scope=READ,
        summary="A job's events from any of them on, at any time during and after.",
        parameters=(
            JOB_ID, LAST_EVENT, AFTER_EVENT,
            Parameter("query", "token", TEXT, "A read token, instead of a key."),
        ),
        errors=(400,),
        answers={200: STREAM, 204: OVER},
    ),
    ("GET", "/v1/events"): Operation(
        id="followJobs", group="Events", scope=READ,
        summary="The events of several jobs on one connection; each id holds the places in all.",
        parameters=(
            Parameter("query", "jobs", TEXT, f"Up to {MOST_JOBS} ids, separated by commas."),
            LAST_EVENT, AFTER_EVENT,
        ),
        errors=(400, 404),
        answers={200: STREAM, 204: OVER},
    ),
    ("GET", "/healthz"): Operation(
        id="healthz", group="Server", summary="Whether the process answers.",
        answers={200: in_json("It does.", "Alive")},
    ),
    ("GET", "/readyz"): Operation(
        id="readyz", group="Server", summary="Whether jobs can be accepted, and why not.",
        answers={
            200: in_json("They can.", "Readiness"),
            503: in_json("They cannot.", "Readiness"),
        },
    ),
    ("GET", "/openapi.json"): Operation(
        id="openapi", group="Server", summary="This description.",
        answers={200: Answer("It.", {JSON: {"type": "object"}})},
    ),
    ("GET", "/docs"): Operation(
        id="docs", group="Server", summary="This description, for people.",
        answers={200: Answer("It.", {HTML: TEXT})},
    ),
}  # fmt: skip

# Every schema that has a name.
COMPONENTS: Mapping[str, Schema] = {**schemas.COMPONENTS, **files.COMPONENTS, **batches.COMPONENTS}
