"""The gateway's description of itself is true, and all that it describes holds under odd input."""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from models import Job, JobState
from tests.servers import PostgresServer, RedisServer
from tests.stack import Stack, address_of
from worker.gateway.app import ROUTES
from worker.gateway.openapi.document import document
from worker.gateway.openapi.operations import OPERATIONS
from worker.gateway.openapi.schemas import JOB
from worker.gateway.openapi.schemas import PARAMETERS as DESCRIBED
from worker.job_object import job_object
from worker.request.body import PARAMETERS

pytestmark = pytest.mark.xdist_group("gateway openapi")

# Any model is passed on: the simulator says of most that it does not know them.
UPSTREAMS = """[[upstream]]
name = "simulator"
base_url = "{}"
models = ["*"]
"""
VALUES: list[Any] = [
    0, 1, -1, 1.5, 2.0, 21, 129, True, "", "text", [], ["a"], {}, {"a": 1},
]  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def guarded(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Stack]:
    """A worker, and a gateway that wants keys."""
    with tempfile.TemporaryDirectory(prefix="dw-openapi-") as folder:
        database_url = f"sqlite:///{folder}/jobs.db"
        if request.param == "postgresql":
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            database_url = postgres.create_database()
        with Stack(Path(folder), redis_server.url, database_url) as stack:
            upstreams = Path(folder) / "upstreams.toml"
            upstreams.write_text(UPSTREAMS.format(stack.base_url))
            stack.env |= {
                "DELTAWORKS_UPSTREAMS_FILE": str(upstreams),
                "DELTAWORKS_HOLD_S": "1",
                "DELTAWORKS_ABANDONED_S": "0.5",
            }
            stack.sweeping_worker()
            stack.address = address_of(stack.gateway("--port", "0"))
            yield stack


@pytest.fixture(scope="module")
def opened(guarded: Stack) -> str:
    """The address of a gateway that lets everybody in."""
    return address_of(guarded.gateway())


async def test_whatever_is_sent_the_answers_are_those_described(
    guarded: Stack, tmp_path: Path
) -> None:
    made = guarded.start("keys", "-m", "worker.cli", "keys", "create", "fuzz")
    assert await asyncio.to_thread(made.popen.wait, 60) == 0
    key = next(line for line in made.printed().splitlines() if line.startswith("dw_"))
    command: list[str | Path] = [
        Path(sys.executable).parent / "schemathesis",
        "run",
        f"{guarded.address}/openapi.json",
    ]
    command += ["--header", f"Authorization: Bearer {key}", "--generation-deterministic"]
    command += ["--max-examples", "8", "--request-timeout", "20", "--no-color"]
    # A model may be unknown, a webhook unsigned; and of what is erased it stays known that it was.
    command += ["--exclude-checks", "positive_data_acceptance,use_after_free"]
    ran = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-12_000:] + ran.stderr[-2_000:]
    tested = re.search(r"Tested: (\d+)", ran.stdout)
    assert (
        tested is not None and int(tested[1]) >= len(OPERATIONS) - 1
    )  # not of its own description
    gateway = next(text for name, text in guarded.printed().items() if name.startswith("gateway"))
    assert "ERROR" not in gateway


def test_each_route_is_described_and_nothing_else_is() -> None:
    served = {
        (method, route.path.replace(":path", ""))
        for route in ROUTES
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert served == set(OPERATIONS)


def test_every_schema_that_is_named_is_there() -> None:
    described = document("1")
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    components: Any = described["components"]
    assert named <= set(components["schemas"])
    for schema in components["schemas"].values():
        jsonschema_rs.validator_for({**schema, "components": components})


def test_a_job_is_described_field_by_field() -> None:
    described: Any = JOB["properties"]
    job = Job(id="job_1", state=JobState.QUEUED, attempt=0, created_at=datetime.now(UTC))
    assert list(described) == list(job_object(job))


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameters_schema_takes_what_the_validation_takes(name: str) -> None:
    is_valid, _ = PARAMETERS[name]
    schema = jsonschema_rs.validator_for(DESCRIBED[name])
    for value in VALUES:
        if value == 2.0 and "integer" in str(DESCRIBED[name]):
            continue  # to JSON Schema it is whole, to upstreams it need not be
        assert schema.is_valid(value) == is_valid(value), value
    assert set(DESCRIBED) == set(PARAMETERS)


async def test_the_page_for_people_shows_all_of_it_and_loads_nothing(guarded: Stack) -> None:
    async with httpx.AsyncClient(base_url=guarded.address) as browser:
        answer = await browser.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for (_, path), operation in OPERATIONS.items():
        assert path in answer.text and operation.id in answer.text
    assert not re.search(r"<(script|link|img|iframe)|\bsrc=|url\(", answer.text)
    assert guarded.address in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/chat/completions/", 404, "not_found"),
        ("PUT", "/v1/jobs/job_1", 405, "method_not_allowed"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_has_the_shape_of_every_error(
    guarded: Stack, method: str, path: str, status: int, code: str
) -> None:
    async with httpx.AsyncClient(base_url=guarded.address) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    if status == 405:
        allowed = answer.headers["allow"].split(", ")
        assert allowed in (["POST"], ["DELETE", "GET", "HEAD"])


@pytest.mark.parametrize("character", ["%00", "%ED%A0%80", "%F0%9F%99%82", "%5C"])
async def test_characters_that_no_database_holds_find_nothing(opened: str, character: str) -> None:
    async with httpx.AsyncClient(base_url=opened) as client:
        for path in (
            f"/v1/jobs/a{character}",
            f"/v1/jobs/a{character}/events",
            f"/v1/jobs/a/events?token={character}",
            f"/v1/jobs?after=a{character}",
            f"/v1/events?jobs=a{character}",
            f"/v1/responses/resp_a{character}",
            f"/v1/models/a{character}",
        ):
            assert (await client.get(path)).status_code == 404, path
        for query in ("metadata[a]={}", "metadata[{}]=a"):
            listed = await client.get(f"/v1/jobs?{query.format(character)}")
            assert (listed.status_code, listed.json()["data"]) == (200, [])
