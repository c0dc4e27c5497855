"""The catalog: which upstream serves a model, and files refused with a sentence."""

from pathlib import Path

import pytest

from worker.catalog import Catalog, Upstream, configured, simulated
from worker.errors import ConfigurationError

FILE = """
[[upstream]]
name = "openai"
base_url = "https://api.openai.com/v1/"
api_key_env = "TEST_CATALOG_KEY"
models = ["gpt-4o*", "o3"]
streams_logprobs = true

[[upstream]]
name = "local"
base_url = "http://127.0.0.1:8000/v1"
include_usage = false
"""


def read(tmp_path: Path, text: str) -> Catalog:
    file = tmp_path / "upstreams.toml"
    file.write_text(text)
    catalog = configured(file)
    assert catalog is not None
    return catalog


def test_the_first_upstream_that_names_the_model_serves_it(tmp_path: Path) -> None:
    catalog = read(tmp_path, FILE)
    expected = {"gpt-4o": "openai", "gpt-4o-mini": "openai", "o3": "openai", "o30": "local"}
    for model, name in expected.items():
        assert catalog.serving(model)[0].name == name
    assert [upstream.name for upstream in catalog.serving("gpt-4o")] == ["openai", "local"]
    assert catalog.models() == ["gpt-4o*", "o3", "*"]
    assert not catalog.simulated


def test_an_address_is_joined_with_one_slash(tmp_path: Path) -> None:
    addresses = [upstream.base_url for upstream in read(tmp_path, FILE).upstreams]
    assert addresses == ["https://api.openai.com/v1", "http://127.0.0.1:8000/v1"]


def test_a_model_that_nobody_names_is_served_by_nobody() -> None:
    catalog = Catalog((Upstream(name="a", base_url="http://a", models=("m",)),))
    assert not catalog.serving("n")
    assert not catalog.serving("M")


def test_without_a_file_the_variables_of_openai_count() -> None:
    assert configured(None, {}) is None
    key_only = configured(None, {"OPENAI_API_KEY": "sk-secret"})
    assert key_only is not None
    (upstream,) = key_only.upstreams
    assert (upstream.base_url, upstream.name) == ("https://api.openai.com/v1", "api.openai.com")
    assert (upstream.api_key_env, upstream.streams_logprobs) == ("OPENAI_API_KEY", True)
    assert "sk-secret" not in repr(key_only)
    url_only = configured(None, {"OPENAI_BASE_URL": "http://host:1234/v1/"})
    assert url_only is not None
    (upstream,) = url_only.upstreams
    assert (upstream.base_url, upstream.api_key_env) == ("http://host:1234/v1", None)


def test_a_host_whose_name_is_long_gets_a_name_that_fits_its_column() -> None:
    host = ".".join(["label" * 10] * 4)
    catalog = configured(None, {"OPENAI_BASE_URL": f"http://{host}/v1"})
    assert catalog is not None
    assert len(catalog.upstreams[0].name) == 64


def test_the_simulator_stands_in_and_says_so() -> None:
    assert simulated("http://127.0.0.1:1/v1").simulated


def test_a_key_is_read_from_the_environment_at_each_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, local = read(tmp_path, FILE).upstreams
    with pytest.raises(ConfigurationError, match="names TEST_CATALOG_KEY, which is not set; set"):
        upstream.api_key()
    for key in ("sk-one", "sk-two"):
        monkeypatch.setenv("TEST_CATALOG_KEY", key)
        assert upstream.api_key() == key
        assert "sk-" not in upstream.key_fingerprint()
    assert local.api_key() is None


def one(**fields: str) -> str:
    known = {"name": '"a"', "base_url": '"http://a/v1"', **fields}
    return "[[upstream]]\n" + "\n".join(f"{name} = {value}" for name, value in known.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "upstream"),
        ("upstream = []", "names no upstream; add"),
        ("[[upstream]", "upstreams.toml: "),
        ("[[upstream]]\nname = 'a'", "base_url"),
        (one(key='"sk-1"'), "`key`"),
        (one(models='"m"'), "models"),
        (one(models="[]"), "models is empty; name"),
        (one(name='""'), "characters; use 1 to 64"),
        (one(name=f'"{"n" * 65}"'), "characters; use 1 to 64"),
        (one(base_url='"ftp://a"'), "is no http"),
        (one(base_url='"a/v1"'), "is no http"),
        (one(base_url='"http:///v1"'), "is no http"),
        (one(base_url='"http://[::1/v1"'), "is no http"),
        (one(base_url='"http://a:port/v1"'), "is no http"),
        (one(base_url='"http://a:99999/v1"'), "is no http"),
        (one() + "\n" + one(), "'a' is named twice; rename one"),
    ],
)
def test_a_file_that_cannot_work_is_refused_with_a_sentence(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert "upstreams.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        configured(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    "url", ["https://me:secret@a/v1", "me:secret@a", "https://me:secret@/v1", "ftp://me:secret@a"]
)
def test_a_password_in_an_address_is_refused_and_not_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="name the key by api_key_env instead") as caught:
        read(tmp_path, one(base_url=f'"{url}"'))
    assert "secret" not in str(caught.value)
