"""Files: their routes and their schemas."""

from collections.abc import Mapping

from worker.gateway.files.form import (
    ANCHOR,
    ANCHORS,
    FILE,
    LEAST_LIFE_S,
    MOST_LIFE_S,
    PURPOSE,
    PURPOSES,
    SECONDS,
)
from worker.gateway.files.routes import MOST_FILES
from worker.gateway.listing import ORDERS
from worker.gateway.openapi.schemas import (
    FLAG,
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
    BYTES,
    FORM,
    READ,
    WRITE,
    Answer,
    Operation,
    Parameter,
    in_json,
    path_part,
)

FILE_ID = path_part("id", "The file's id.")
CONTENT: Schema = {"type": "string", "format": "binary"}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/v1/files"): Operation(
        id="createFile", group="Files", scope=WRITE,
        summary="Upload the rows of a batch, as a form; its parts may come in any order.",
        body=(ref("FileUpload"),), body_type=FORM,
        answers={200: in_json("The file.", "File")},
    ),
    ("GET", "/v1/files"): Operation(
        id="listFiles", group="Files", scope=READ, summary="Files, newest first.",
        parameters=(
            Parameter("query", "purpose", TEXT, "Only files for this."),
            Parameter("query", "order", one_of(ORDERS), "The oldest first: asc."),
            Parameter("query", "after", TEXT, "The id of the last file of the page before."),
            Parameter(
                "query", "limit",
                {"type": "integer", "minimum": 1, "maximum": MOST_FILES, "default": MOST_FILES},
                "How many at most.",
            ),
        ),
        errors=(400, 404),
        answers={200: in_json("A page of files.", "FilePage")},
    ),
    ("GET", "/v1/files/{id}"): Operation(
        id="retrieveFile", group="Files", scope=READ, summary="A file, but not its content.",
        parameters=(FILE_ID,),
        answers={200: in_json("The file.", "File")},
    ),
    ("DELETE", "/v1/files/{id}"): Operation(
        id="deleteFile", group="Files", scope=WRITE, summary="Remove a file and its content.",
        parameters=(FILE_ID,),
        answers={200: in_json("It is removed.", "Deleted")},
    ),
    ("GET", "/v1/files/{id}/content"): Operation(
        id="downloadFile", group="Files", scope=READ, summary="A file's content.",
        parameters=(FILE_ID,),
        answers={200: Answer("Its bytes.", {BYTES: CONTENT})},
    ),
}  # fmt: skip

COMPONENTS: Mapping[str, Schema] = {
    "FileUpload": closed(
        an_object(
            {PURPOSE: one_of(PURPOSES), FILE: CONTENT},
            **{
                ANCHOR: one_of(ANCHORS),
                SECONDS: {"type": "integer", "minimum": LEAST_LIFE_S, "maximum": MOST_LIFE_S},
            },
        )
    ),
    "File": an_object(
        {
            "id": TEXT,
            "object": {"const": "file"},
            "bytes": WHOLE,
            "created_at": WHOLE,
            "filename": TEXT,
            "purpose": TEXT,
            "status": one_of(["uploaded", "processed", "error"]),
        },
        expires_at=WHOLE,
    ),
    "FilePage": an_object(
        {
            "object": {"const": "list"},
            "data": a_list(ref("File")),
            "first_id": maybe(TEXT),
            "last_id": maybe(TEXT),
            "has_more": FLAG,
        }
    ),
}
