"""Batches: their routes and their schemas."""

from collections.abc import Mapping

from models import BatchStatus
from worker.batch.request import ENDPOINTS, LEAST_LIFE_S, MOST_LIFE_S, MOST_PRIORITY
from worker.batch.submission import CATEGORIES
from worker.gateway.batches import JSON_LINES, KINDS
from worker.gateway.openapi.schemas import (
    FLAG,
    METADATA,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Schema,
    a_list,
    an_object,
    closed,
    maybe,
    one_of,
    ref,
)
from worker.gateway.openapi.terms import (
    HTML,
    LIMIT,
    READ,
    WRITE,
    Answer,
    Operation,
    Parameter,
    in_json,
    path_part,
)

BATCH_ID = path_part("id", "The batch's id.")
ABOVE_ZERO: Schema = {"type": "number", "exclusiveMinimum": 0}
RATIO: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
BATCH = {200: in_json("The batch.", "Batch")}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/batches"): Operation(
        id="createBatch", group="Batches", scope=WRITE,
        summary="Run every row of a file; what is wrong with the file is told by the status.",
        body=(ref("BatchRequest"),), answers=BATCH,
    ),
    ("GET", "/v1/batches"): Operation(
        id="listBatches", group="Batches", scope=READ, summary="Batches, newest first.",
        parameters=(
            LIMIT, Parameter("query", "after", TEXT, "The id of the last one of the page before."),
        ),
        errors=(400, 404),
        answers={200: in_json("A page of batches.", "BatchPage")},
    ),
    ("GET", "/v1/batches/{id}"): Operation(
        id="retrieveBatch", group="Batches", scope=READ,
        summary="A batch, with what its rows came to by now.",
        parameters=(BATCH_ID,), answers=BATCH,
    ),
    ("POST", "/v1/batches/{id}/cancel"): Operation(
        id="cancelBatch", group="Batches", scope=WRITE,
        summary="Cancel all rows that have not ended; the others keep their results.",
        parameters=(BATCH_ID,), errors=(409,), answers=BATCH,
    ),
    ("POST", "/v1/batches/{id}/pause"): Operation(
        id="pauseBatch", group="Batches", scope=WRITE,
        summary="Begin no more rows; those that run go on.",
        parameters=(BATCH_ID,), errors=(409,), answers=BATCH,
    ),
    ("POST", "/v1/batches/{id}/resume"): Operation(
        id="resumeBatch", group="Batches", scope=WRITE,
        summary="Go on, with other limits where they are given.",
        parameters=(BATCH_ID,), body=(ref("BatchLimits"),), body_required=False,
        errors=(409,), answers=BATCH,
    ),
    ("POST", "/v1/batches/{id}/retry"): Operation(
        id="retryBatch", group="Batches", scope=WRITE,
        summary="Run failed rows once more: in the batch while it runs, else in one of their own.",
        parameters=(BATCH_ID,), body=(ref("BatchRetry"),), body_required=False,
        errors=(409,), answers=BATCH,
    ),
    ("GET", "/v1/batches/{id}/results"): Operation(
        id="listBatchResults", group="Batches", scope=READ,
        summary="The lines that a batch's files have by now, in the order of its input.",
        parameters=(BATCH_ID, Parameter("query", "kind", one_of(KINDS), "Which of both files.")),
        errors=(400,),
        answers={200: Answer("One JSON object on each line.", {JSON_LINES: TEXT})},
    ),
    ("GET", "/v1/batches/{id}/report"): Operation(
        id="reportBatch", group="Batches", scope=READ, summary="A page about the run, for people.",
        parameters=(BATCH_ID,),
        answers={200: Answer("The page.", {HTML: TEXT})},
    ),
}  # fmt: skip

LIMITS = {"max_cost": maybe(ABOVE_ZERO), "max_failed_ratio": maybe(RATIO)}
FAULT = an_object({"code": TEXT, "message": TEXT, "line": maybe(WHOLE), "param": maybe(TEXT)})
PAUSE = an_object({"since": WHOLE, "until": maybe(WHOLE), "reason": TEXT, "message": maybe(TEXT)})
COMPONENTS: Mapping[str, Schema] = {
    "BatchRequest": closed(
        an_object(
            {"input_file_id": TEXT, "endpoint": one_of(ENDPOINTS)},
            completion_window=maybe({"type": "string", "pattern": "^([0-9]+[dhms])+$"}),
            metadata=maybe(METADATA),
            output_expires_after=maybe(
                an_object(
                    {
                        "anchor": one_of(["created_at"]),
                        "seconds": {
                            "type": "integer",
                            "minimum": LEAST_LIFE_S,
                            "maximum": MOST_LIFE_S,
                        },
                    }
                )
            ),
            run_window=maybe({"type": "string", "examples": ["22:00-06:00 Europe/Berlin"]}),
            priority=maybe(
                {"type": "integer", "minimum": -MOST_PRIORITY, "maximum": MOST_PRIORITY}
            ),
            mixed_models=maybe(FLAG),
            webhook=maybe({"type": "string", "format": "uri"}),
            **LIMITS,
        )
    ),
    "BatchLimits": closed(an_object({}, **LIMITS)),
    "BatchRetry": closed(
        an_object({}, categories=maybe(a_list(one_of(CATEGORIES), minItems=1)))
    ),
    "Batch": an_object(
        {
            "id": TEXT,
            "object": {"const": "batch"},
            "endpoint": one_of(ENDPOINTS),
            "model": maybe(TEXT),
            "errors": maybe(an_object({"object": {"const": "list"}, "data": a_list(FAULT)})),
            "input_file_id": TEXT,
            "completion_window": TEXT,
            "status": one_of(BatchStatus),
            "output_file_id": maybe(TEXT),
            "error_file_id": maybe(TEXT),
            "created_at": WHOLE,
            "expires_at": WHOLE,
            "request_counts": an_object({"total": WHOLE, "completed": WHOLE, "failed": WHOLE}),
            "usage": OBJECT,
            "metadata": maybe(OBJECT),
            "paused": maybe(PAUSE),
            "cost": maybe(NUMBER),
            "failures": OBJECT,
        }
    ),
    "BatchPage": an_object(
        {
            "object": {"const": "list"},
            "data": a_list(ref("Batch")),
            "first_id": maybe(TEXT),
            "last_id": maybe(TEXT),
            "has_more": FLAG,
        }
    ),
}  # fmt: skip
