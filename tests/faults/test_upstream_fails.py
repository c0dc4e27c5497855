"""Upstreams fail in every way the simulator knows, all at once; and one says far too much."""

from tests.faults.evidence import Expected, ending
from tests.faults.scene import Scene

COMPLETED, RETRIED = ending("completed", requests=1), ending("completed", requests=2)
# The fault that strikes, and how the job has to end: by the code, not by the status.
FAULTS: dict[str, Expected] = {
    **dict.fromkeys(
        (
            "cut-eof", "cut-fin", "cut-rst", "cut-inside-event", "cut-before-headers",
            "reset-before-headers", "stall-mid", "stall-first-token", "comments",
            "status-500", "status-502", "html-502", "empty-500", "openrouter-raw",
            "error-data", "error-event", "error-event-bare", "error-anthropic", "error-flat",
            "error-string", "error-list", "error-field", "error-responses", "error-nested",
            "error-metadata", "error-litellm", "error-groq", "error-openrouter", "json-error",
            "empty", "late-error", "gzip-cut", "malformed-json",
        ),
        RETRIED,
    ),
    **dict.fromkeys(
        (
            "no-done", "done-only", "done-twice", "close-delimited", "pings", "split-bytes",
            "crlf", "cr", "multi-line", "ids", "bom", "u2028", "surrogates", "lone-surrogate",
            "nul", "null-content", "azure-chunks", "usage-missing", "no-content-type", "gzip",
        ),
        COMPLETED,
    ),
    "context-length": ending("failed", category="context_length", requests=1),
    "content-policy": ending("failed", category="content_filter", requests=1),
    "status-400": ending("failed", category="bad_request", requests=1),
    "status-404": ending("failed", category="not_found", requests=1),
    "finish-content_filter": ending("incomplete", requests=1),
}  # fmt: skip
# A stall and a comment are given up soon; a drip and a bad minute are not waited for.
SETTINGS = {"DELTAWORKS_TOKEN_GAP_TIMEOUT_S": "1", "DELTAWORKS_FIRST_TOKEN_TIMEOUT_S": "1.5"}


async def test_every_fault_at_once_ends_each_job_as_its_error_says(on_sqlite: Scene) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1, **SETTINGS, DELTAWORKS_POLICY_FILE=impatient(scene))
    faults = list(FAULTS)
    scene.random.shuffle(faults)
    async with scene.load() as load:
        for name in faults:
            model = f"sim-fast?tokens=40&rate=200&fault={name}&vary=1"
            await load.submit(1, model, FAULTS[name])
        for wait_s in (1, 2):
            # Models of their own, so that their cool-downs are.
            model = f"sim-fast?tokens=9&fault=limit-seconds&wait={wait_s}"
            await load.submit(2, model)
        model = "sim-fast?tokens=9&fault=status-503&wait=1"
        await load.submit(1, model, RETRIED)


async def test_an_answer_of_megabytes_arrives_whole(on_sqlite: Scene) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    async with scene.load() as load:
        for lane in ("interactive", "bulk"):
            await load.submit(1, "sim-fast?tokens=500000", COMPLETED, lane=lane)
            await load.submit(1, "sim-fast?fault=huge-event&size=3000000", COMPLETED, lane=lane)
        await load.submit(4, expected=COMPLETED)


def impatient(scene: Scene) -> str:
    """A policy whose waits are short, and whose retries cost the fleet nothing."""
    file = scene.stack.folder / "policy.toml"
    short = "base_s = 0.1\ncap_s = 0.3\nbudget_cost = 0\n"
    kinds = ("server", "truncated", "timeout", "connection", "overloaded", "unknown", "conflict")
    file.write_text("\n".join(f'[{kind}]\n{short}cool_down = "none"' for kind in kinds))
    return str(file)
