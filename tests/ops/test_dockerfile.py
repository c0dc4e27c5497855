"""The image's recipe, as far as it can be judged without an engine."""

import json
import re
from fnmatch import fnmatch

from tests.ops.compose import ROOT
from worker.settings import PREFIX, Settings

RECIPE = (ROOT / "ops/Dockerfile").read_text()
# Comments away, and each instruction on one line.
LINES = re.sub(r"(?m)^#.*\n", "", RECIPE).replace("\\\n", " ").splitlines()
LOCK = (ROOT / "ops/lock/run.txt").read_text()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in LINES if line.startswith(f"{name} ")]


def test_what_is_copied_exists_and_is_part_of_what_is_sent() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    sent = [line[1:] for line in ignored if line.startswith("!")]
    copied = [it.split()[:-1] for it in instructions("COPY") if not it.startswith("--from")]
    sources = {source for some in copied for source in some}
    assert sources == set(sent)
    assert all((ROOT / source).exists() for source in sources)


def test_everything_is_installed_by_its_hash_and_nothing_is_compiled() -> None:
    installing = [it for it in instructions("RUN") if " install --disable" in it]
    assert len(installing) == 2
    assert all(
        "--no-deps" in it and ("--require-hashes --only-binary :all:" in it or "--no-index" in it)
        for it in installing
    )
    assert "://" not in RECIPE


def test_what_the_image_leaves_out_of_the_lock_is_in_it() -> None:
    left_out = {
        name for some in re.findall(r"/\^\(([^)]+)\)==/", RECIPE) for name in some.split("|")
    }
    assert left_out and all(f"\n{name}==" in f"\n{LOCK}" for name in left_out)


def test_the_process_is_a_user_without_a_name_of_power_and_is_told_to_end_itself() -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", instructions("USER")[-1])
    assert json.loads(instructions("ENTRYPOINT")[-1]) == ["deltaworks"]
    assert json.loads(instructions("CMD")[-1]) == ["--help"]
    assert LINES.index("USER 10001:10001") > max(
        number for number, line in enumerate(LINES) if line.startswith("RUN")
    )


def test_its_variables_are_settings_and_its_base_is_named_by_a_version() -> None:
    told = set(re.findall(rf"{PREFIX}([A-Z_]+)=", " ".join(instructions("ENV"))))
    assert told == {"HOME", "SECRETS_DIR"}
    assert "home" in Settings.model_fields
    assert fnmatch(instructions("ARG")[0], "BASE=python:3.*-*")
    assert instructions("FROM") == ["${BASE} AS build", "${BASE}"]
