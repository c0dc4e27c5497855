"""The private Redis: which program, which socket, and whose."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
import redis

from tests.processes import await_nothing_left, eventually
from tests.servers import RedisServer
from worker.engines import join_redis, redis_server_binary
from worker.errors import EngineFailed


def answers(address: str) -> bool:
    """Whether there is a Redis at `address`."""
    with redis.Redis.from_url(address) as client:
        return bool(client.ping())


def test_the_private_redis_is_open_to_its_user_alone_and_keeps_nothing(home: Path) -> None:
    with join_redis(home) as membership, redis.Redis.from_url(membership.address) as client:
        settings = client.config_get("*")
        assert (settings["port"], settings["save"], settings["appendonly"]) == ("0", "", "no")
        assert settings["maxmemory-policy"] == "noeviction"
        socket = Path(settings["unixsocket"])
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_a_home_with_spaces_and_percent_signs_has_an_address_that_redis_py_reads(
    home: Path,
) -> None:
    with join_redis(home / "my home 100%41") as membership:
        assert answers(membership.address)


def test_a_home_too_long_for_a_socket_gets_a_private_folder_with_a_short_path(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    with join_redis(home / ("long" * 30)) as membership:
        assert answers(membership.address)
        folder = Path(membership.address.removeprefix("unix://")).parent
        assert folder.parent == home
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_runtime_folder_that_is_gone_is_passed_over_for_the_temporary_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "logged out"))
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    with join_redis(home / ("long" * 30)) as membership:
        assert membership.address.startswith(f"unix://{home}/deltaworks-{os.geteuid()}-")


def test_a_socket_folder_that_others_may_enter_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = short_folder(home, monkeypatch)
    folder.chmod(0o755)
    with pytest.raises(EngineFailed, match=r"others may enter it \(mode 755\); chmod 700"):
        join_redis(home / ("long" * 30))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_socket_folder_of_another_user_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = short_folder(home, monkeypatch)
    os.chown(folder, 65534, 65534)
    with pytest.raises(EngineFailed, match="belongs to user 65534, not to 0"):
        join_redis(home / ("long" * 30))


def test_a_link_in_place_of_the_socket_folder_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = short_folder(home, monkeypatch)
    folder.rmdir()
    folder.symlink_to("/tmp")
    with pytest.raises(EngineFailed, match="is not a folder"):
        join_redis(home / ("long" * 30))


def short_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the socket of a too long home goes to, created by a run that is over."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    with join_redis(home / ("long" * 30)) as membership:
        folder = Path(membership.address.removeprefix("unix://")).parent
    await_nothing_left(home)
    eventually(lambda: not list(folder.iterdir()))
    return folder


def test_a_home_that_cannot_be_created_is_named_with_the_remedy(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(EngineFailed, match=r"cannot be created .* set DELTAWORKS_HOME"):
        join_redis(home / "file" / "below")


@pytest.mark.parametrize(
    ("printed", "taken"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", True),
        ("Server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", True),
        ("Redis server v=6.2.14 sha=40305114:0 malloc=libc bits=64", True),
        ("Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64", False),
        ("no version", False),
    ],
)
def test_the_redis_server_on_path_is_taken_where_it_is_new_enough(
    home: Path, monkeypatch: pytest.MonkeyPatch, printed: str, taken: bool
) -> None:
    found = home / "redis-server"
    found.write_text(f"#!/bin/sh\necho '{printed}'\n")
    found.chmod(0o700)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.defpath}")
    assert (redis_server_binary() == found) is taken


def test_a_redis_of_the_tests_keeps_its_data_when_killed_and_loses_them_when_wiped(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", 1)
        server.kill()
        server.start()
        assert client.get("kept") == b"1"
        server.restart(wipe=True)
        assert client.get("kept") is None
