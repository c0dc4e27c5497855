"""What `doctor` finds that is really so: each fault is made, seen, and named with its remedy."""

import asyncio
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from sqlalchemy import text, update

from models import Job, JobState, schema
from tests.commands import COMMAND, Deltaworks
from tests.jobs import queue
from tests.servers import RedisServer
from tests.stack import Stack
from worker.channel.log import SWEPT
from worker.cli.checks.servers import clock_finding, database_fault, persistence_fault, redis_fault
from worker.store import Condition, Store, connect

WELL = {"redis_version": "7.2.4", "maxmemory_policy": "noeviction", "used_memory": 1}


def lines_of(deltaworks: Deltaworks, *arguments: str, code: int) -> dict[str, str]:
    """The lines that it prints, by the name of the check; a remedy follows its finding."""
    ended = deltaworks("doctor", *arguments)
    assert ended.returncode == code, ended.stdout
    found: dict[str, str] = {}
    name = ""
    for line in ended.stdout.splitlines():
        if not line.startswith(" "):
            name = line[5:16].strip()
        found[name] = f"{found.get(name, '')}{line}\n"
    return found


def test_doctor_sees_a_broker_that_forgets_and_is_full_and_a_sweep_that_has_stopped(
    home: Path, stack: Stack, tmp_path: Path
) -> None:
    options = ("--appendonly", "no", "--maxmemory", "10mb", "--maxmemory-policy", "noeviction")
    with RedisServer(tmp_path, options=options) as forgetful:
        with redis.Redis.from_url(forgetful.url) as client:
            client.setrange("ballast", 7_800_000, "x")
        with redis.Redis.from_url(stack.env["DELTAWORKS_REDIS_URL"]) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.set(SWEPT, "", px=86_400_000 - 600_000)
            try:
                deltaworks = Deltaworks(home, **stack.env, DELTAWORKS_BROKER_URL=forgetful.url)
                found = lines_of(deltaworks, code=1)
            finally:
                client.config_set("maxmemory-policy", "noeviction")
    assert found["redis"].startswith("warn") and "set noeviction" in found["redis"]
    assert found["broker"].startswith("warn") and "a full Redis refuses" in found["broker"]
    assert found["sweep"].startswith("fail") and " s ago" in found["sweep"]
    assert "see to beat" in found["sweep"]


def test_doctor_sees_what_is_refused_and_what_waits(home: Path, stack: Stack) -> None:
    """An upstream that has no money, webhooks without a secret, too few files, a newer schema."""
    url = stack.env["DELTAWORKS_DATABASE_URL"]
    asyncio.run(make_faults(url))
    env = {**stack.env, "DELTAWORKS_MODEL": "sim?fault=insufficient-quota"}
    deltaworks = Deltaworks(home, **env, DELTAWORKS_STREAMS="10000")
    limited = ["sh", "-c", 'ulimit -n 512; exec "$0" "$@"', *COMMAND, "doctor", "--ask-all"]
    ended = subprocess.run(limited, check=False, capture_output=True, text=True, timeout=60,
                           env=deltaworks.env)  # fmt: skip
    said = ended.stdout
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    for line in (
        "fail files      512 open files for 10,000 streams",
        "fail webhooks   some wait, and there is no secret",
        "warn sweep      none for a day, or ever",
        "fail answer     127.0.0.1: billing: insufficient_quota",
    ):
        assert line in said, said
    assert f"newer than this version's {schema.HEAD}" in said
    assert "set DELTAWORKS_WEBHOOK_SECRET" in said and "sk-canary" not in said


async def make_faults(url: str) -> None:
    """An ended job whose webhook is due, and a schema of tomorrow."""
    store, now = Store(connect(url), "test"), datetime.now(UTC)
    id = await queue(store)
    ends = {"state": JobState.FAILED.value, "finished_at": now, "webhook_due_at": now}
    async with store.engine.begin() as connection:
        await connection.execute(update(Job).where(Job.id == id).values(ends))
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await store.aclose()


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"redis_version": "6.0.16"}, "Redis 6.2 or newer"),
        ({"used_memory": 900, "total_system_memory": 1000}, "90% of the machine's memory"),
        ({"used_memory": 90, "maxmemory": 100}, "90% of maxmemory"),
    ],
)
def test_a_redis_that_is_old_or_full_is_told(info: dict[str, object], said: str) -> None:
    assert redis_fault(WELL) is None
    fault = redis_fault({**WELL, **info})
    assert fault is not None and said in fault[1]


def test_a_broker_that_cannot_write_to_its_disk_fails() -> None:
    assert persistence_fault({"rdb_last_bgsave_status": "ok"}, keeps=True) is None
    fault = persistence_fault({"aof_last_write_status": "err"}, keeps=True)
    assert fault is not None and fault[0] == "fail" and "look at its disk" in fault[1]
    nothing = persistence_fault({}, keeps=False)
    assert nothing is not None and nothing[0] == "warn"


@pytest.mark.parametrize(
    ("ahead", "level"),
    [
        ({"the database": 0.4, "Redis": -0.4}, "ok"),
        ({"the database": 0.6, "Redis": -0.6}, "warn"),
        ({"the database": 0.0, "Redis": 11.0}, "fail"),
    ],
)
def test_clocks_that_differ_are_told(ahead: dict[str, float], level: str) -> None:
    assert clock_finding(ahead).level == level


def test_a_database_whose_connections_are_nearly_all_taken_is_told() -> None:
    roomy = Condition(schema.HEAD, 1, 80, 100, 0.0)
    assert database_fault(roomy) is None
    fault = database_fault(roomy._replace(connections=81))
    assert fault is not None and "pgbouncer" in fault[1]
