"""`ops/compose/make-secrets`: what it makes is what the stack reads, and it is made once."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import redis
from redis.exceptions import AuthenticationError, NoPermissionError

from tests.ops.compose import ROOT, compose, variables
from tests.processes import eventually
from worker.engines.servers import redis_server_binary
from worker.settings import Settings


def make(folder: Path, key: str = "") -> tuple[Path, str]:
    """Run the script as a checkout's in the folder; where its secrets are, and what it said."""
    script = folder / "ops/compose/make-secrets"
    script.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "ops/compose/make-secrets", script)
    environment = {"PATH": "/usr/bin:/bin", "OPENAI_API_KEY": key}
    ended = subprocess.run([script], env=environment, capture_output=True, text=True, check=True)
    return folder / "ops/compose/secrets", ended.stdout + ended.stderr


def contents(secrets: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in secrets.iterdir()}


def test_it_makes_what_the_stack_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets, said = make(tmp_path)
    made = contents(secrets)
    assert set(compose()["secrets"]) <= set(made)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    settings = (tmp_path / ".env").read_text()
    for name in (name for name, rest in variables().items() if rest.startswith(":?")):
        assert f"\n{name}=./" in settings
    assert "a simulator answers" in said and "\nCOMPOSE_PROFILES=simulator\n" in settings

    for name in ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "TOKEN_SECRET", "WEBHOOK_SECRET"):
        monkeypatch.delenv(f"DELTAWORKS_{name}", raising=False)
    read = Settings(_secrets_dir=secrets)
    assert read.database_url == (
        f"postgresql://deltaworks:{made['postgres_password']}@postgres:5432/deltaworks"
    )
    assert read.redis_url == f"redis://:{made['channel_password']}@channel:6379/0"
    assert read.broker_url == f"redis://:{made['broker_password']}@broker:6379/0"
    assert read.token_secret and read.webhook_secret


def test_a_second_run_keeps_everything_and_no_two_passwords_are_the_same(tmp_path: Path) -> None:
    secrets, _ = make(tmp_path)
    made = contents(secrets)
    passwords = [text for name, text in made.items() if name.endswith("_password")]
    assert len(set(passwords)) == len(passwords) == 4
    assert contents(make(tmp_path)[0]) == made
    (tmp_path / "other").mkdir()
    assert contents(make(tmp_path / "other")[0])["postgres_password"] != made["postgres_password"]


def test_with_a_key_openai_is_asked_and_no_simulator_runs(tmp_path: Path) -> None:
    secrets, said = make(tmp_path, key="sk-given")
    assert contents(secrets)["OPENAI_API_KEY"] == "sk-given"
    settings = (tmp_path / ".env").read_text()
    assert "/openai.toml\n" in settings and "\nCOMPOSE_PROFILES=\n" in settings
    assert "made up" not in said and "sk-given" not in said + settings


def test_redis_lets_nobody_in_without_the_password_and_its_probe_do_nothing(
    tmp_path: Path, home: Path
) -> None:
    secrets, _ = make(tmp_path)
    socket = home / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(home)]
    acl = ["--aclfile", str(secrets / "channel.acl")]
    with subprocess.Popen(
        [redis_server_binary(), *options, *acl], stdout=subprocess.DEVNULL
    ) as server:
        try:
            eventually(socket.exists)
            stranger = redis.Redis.from_url(f"unix://{socket}")
            with stranger, pytest.raises(AuthenticationError):
                stranger.ping()
            password = (secrets / "channel_password").read_text()
            with redis.Redis.from_url(f"unix://:{password}@{socket}") as known:
                assert known.set("a", "b")
            with redis.Redis.from_url(f"unix://probe:probe@{socket}") as probe:
                assert probe.ping()
                with pytest.raises(NoPermissionError):
                    probe.get("a")
        finally:
            server.terminate()
