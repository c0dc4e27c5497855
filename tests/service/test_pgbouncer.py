"""The store behind a pgbouncer that hands connections on after each transaction.

It needs a pgbouncer on the PATH and is skipped without one; which versions can prepare statements
stands in `ops/scale.md`.
"""

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from tests.servers import ServerProcess, free_port
from worker.store import connect

PROGRAM = shutil.which("pgbouncer")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no pgbouncer is on the PATH; on Debian: apt-get install pgbouncer"
)

# More often than psycopg needs to see a statement to prepare it.
OFTEN = 8


class Bouncer(ServerProcess):
    """A pgbouncer with one connection to the server, whatever may come."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__()
        behind = make_url(url)
        self.port = free_port()
        self.url = behind.set(port=self.port).render_as_string()
        self._folder = folder
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{behind.database} = host=127.0.0.1 port={behind.port} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            "unix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
            "default_pool_size = 1\n"
        )

    def start(self) -> None:
        """Start it, under another account where this is root: it refuses to be root's."""
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        command = [str(PROGRAM), str(self._folder / "pgbouncer.ini")]
        self._run(command, self._folder / "log", self._answers, **account)

    def prepares(self) -> bool:
        """Whether it knows of prepared statements: from 1.21 on it can."""
        said = subprocess.run(
            [str(PROGRAM), "--version"], capture_output=True, text=True, check=True
        )
        major, minor = said.stdout.split()[1].split(".")[:2]
        return (int(major), int(minor)) >= (1, 21)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture
def bouncer(postgres_url: str) -> Iterator[Bouncer]:
    """Before the test's database; its folder is one that other accounts may enter."""
    folder = Path("/tmp") / f"dw-bouncer-{os.getpid()}"
    folder.mkdir(mode=0o755)
    with Bouncer(folder, postgres_url) as server:
        yield server
    shutil.rmtree(folder)


async def ask_often(url: str, *, prepares: bool) -> None:
    """As two processes do: the same statement again and again, on a connection of each."""
    engines = [connect(url, prepares=prepares) for _ in range(2)]
    try:
        for number in range(OFTEN):
            for engine in engines:
                async with engine.connect() as connection:
                    asked = text("SELECT CAST(:number AS int) + 1")
                    assert await connection.scalar(asked, {"number": number}) == number + 1
    finally:
        await asyncio.gather(*(engine.dispose() for engine in engines))


async def test_unprepared_statements_pass_through(bouncer: Bouncer) -> None:
    await ask_often(bouncer.url, prepares=False)
    if not bouncer.prepares():
        with pytest.raises(DBAPIError, match="prepared statement"):
            await ask_often(bouncer.url, prepares=True)
