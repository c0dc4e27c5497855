"""A worker whose broker, channel and upstream are reached by TLS alone."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from tests.stack import Stack
from tests.upstreams import submitted


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite: the database has nothing to do with it."""
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@asynccontextmanager
async def tls_before(url: str, tls: ssl.SSLContext) -> AsyncIterator[int]:
    """A port that ends TLS and passes on what it hears."""
    target, passing = urlsplit(url), set[asyncio.Task[None]]()

    async def passed(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
        sink.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = await asyncio.open_connection(target.hostname, target.port)
        for way in (passed(reader, server[1]), passed(server[0], writer)):
            passing.add(asyncio.create_task(way))

    serving = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    yield serving.sockets[0].getsockname()[1]
    serving.close()
    for task in passing:
        task.cancel()
    await asyncio.gather(*passing, return_exceptions=True)


async def test_a_job_is_run_over_tls_and_not_by_an_authority_that_is_not_ours(
    stack: Stack, tmp_path: Path
) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    for authority, name in ((ours, "ours.pem"), (theirs, "theirs.pem")):
        authority.cert_pem.write_to_path(str(tmp_path / name))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.issue_cert("127.0.0.1").configure_cert(tls)
    async with AsyncExitStack() as context, stack.reader() as reader:
        redis = await context.enter_async_context(
            tls_before(stack.env["DELTAWORKS_REDIS_URL"], tls)
        )
        upstream = await context.enter_async_context(tls_before(stack.base_url, tls))

        def env(authority: str) -> dict[str, str]:
            file = tmp_path / authority
            checked = f"ssl_cert_reqs=required&ssl_ca_certs={file}"
            return {
                "DELTAWORKS_REDIS_URL": f"rediss://127.0.0.1:{redis}/0",
                "DELTAWORKS_BROKER_URL": f"rediss://127.0.0.1:{redis}/0?{checked}",
                "OPENAI_BASE_URL": f"https://127.0.0.1:{upstream}/v1",
                "SSL_CERT_FILE": str(file),
            }

        worker = await asyncio.to_thread(stack.sweeping_worker, **env("ours.pem"))
        id = await submitted(stack, reader, "sim-fast")
        text, _, job = await reader.end(id)
        assert job.state == "completed" and text == job.output_text
        assert await asyncio.to_thread(worker.stop) == 0

        command = "-m", "worker.cli", "doctor"
        strange = stack.start("doctor", *command, **env("theirs.pem"))
        assert await asyncio.to_thread(strange.popen.wait, 60) == 1
        for name in ("redis", "broker", "upstream"):
            line = next(
                line for line in strange.printed().splitlines() if line[5:16].strip() == name
            )
            assert line.startswith("fail"), strange.printed()
