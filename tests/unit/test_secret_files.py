"""Secrets in files: found under the variable's name, after the variable, and never shown."""

from pathlib import Path

import pytest

from worker import secret_files
from worker.catalog import Upstream, configured
from worker.errors import ConfigurationError
from worker.settings import load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the process is told of."""
    monkeypatch.setenv(secret_files.VARIABLE, str(tmp_path))
    for name in ("DELTAWORKS_DATABASE_URL", "DELTAWORKS_REDIS_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_setting_is_read_from_the_file_of_its_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "DELTAWORKS_DATABASE_URL").write_text("postgresql://by-file/a\n")
    (folder / "DELTAWORKS_REDIS_URL").write_text("redis://by-file/0")
    (folder / "another").write_text("is nobody's")
    monkeypatch.setenv("DELTAWORKS_REDIS_URL", "redis://by-variable/0")
    settings = load.__wrapped__()
    assert settings.database_url == "postgresql://by-file/a"
    assert settings.redis_url == "redis://by-variable/0"


def test_the_key_of_an_upstream_is_read_from_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Upstream(name="a", base_url="http://a/v1", api_key_env="KEY_OF_A")
    with pytest.raises(ConfigurationError, match="KEY_OF_A, which is not set; set it, or put its"):
        upstream.api_key()
    (folder / "KEY_OF_B").write_text("sk-by-file\n")
    by_file = Upstream(name="b", base_url="http://b/v1", api_key_env="KEY_OF_B")
    assert by_file.api_key() == "sk-by-file"
    monkeypatch.setenv("KEY_OF_B", "sk-by-variable")
    assert by_file.api_key() == "sk-by-variable"


def test_a_key_in_a_file_is_enough_to_ask_openai(folder: Path) -> None:
    (folder / "OPENAI_API_KEY").write_text("sk-by-file")
    catalog = configured(None, {secret_files.VARIABLE: str(folder)})
    assert catalog and catalog.upstreams[0].api_key() == "sk-by-file"


def test_a_folder_that_is_not_there_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(secret_files.VARIABLE, str(folder / "none"))
    for read in (load.__wrapped__, lambda: secret_files.value("KEY_OF_NOBODY")):
        with pytest.raises(ConfigurationError, match=r"SECRETS_DIR=\S+none is no folder; mount"):
            read()


def test_what_cannot_be_read_is_named_and_not_quoted(folder: Path) -> None:
    (folder / "KEY_AS_A_FOLDER").mkdir()
    (folder / "KEY_IN_BYTES").write_bytes(b"sk-\xff")
    for name, said in (
        ("KEY_AS_A_FOLDER", "Is a directory"),
        ("KEY_IN_BYTES", "is no text in UTF-8"),
    ):
        with pytest.raises(ConfigurationError, match=f"{name}: {said}; the process's user") as told:
            secret_files.value(name)
        assert "sk-" not in str(told.value)
    (folder / "DELTAWORKS_REDIS_URL").write_bytes(b"redis://:secret\xff@host")
    with pytest.raises(ConfigurationError, match="no text in UTF-8; the process's user") as told:
        load.__wrapped__()
    assert "secret\\" not in str(told.value)
