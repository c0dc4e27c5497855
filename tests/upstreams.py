"""Several upstreams for the workers of a stack, and jobs that are sent to them."""

from contextlib import aclosing
from pathlib import Path

from models import Job
from tests.stack import Reader, Stack, chat
from tests.wire import until
from worker import catalog, settings
from worker.channel.events import ChannelEvent, Retrying
from worker.submission import Submission


def two_names(stack: Stack) -> dict[str, str]:
    """The simulator under two addresses, for workers two accounts: `first` and `second`."""
    second = stack.base_url.replace("127.0.0.1", "localhost")
    return upstreams(stack, first=stack.base_url, second=second)


def upstreams(stack: Stack, **base_urls: str) -> dict[str, str]:
    """The setting that has a worker know these upstreams, in this order, by their names."""
    tables = [
        f'[[upstream]]\nname = "{name}"\nbase_url = "{url}"\napi_key_env = "OPENAI_API_KEY"\n'
        for name, url in base_urls.items()
    ]
    return {"DELTAWORKS_UPSTREAMS_FILE": str(written(stack, "upstreams.toml", "\n".join(tables)))}


def policy(stack: Stack, text: str) -> dict[str, str]:
    """The setting that has a worker follow a user's policy."""
    return {"DELTAWORKS_POLICY_FILE": str(written(stack, "policy.toml", text))}


def written(stack: Stack, name: str, text: str) -> Path:
    """A file of the stack."""
    path = stack.folder / name
    path.write_text(text, "utf-8")
    return path


async def submitted(stack: Stack, reader: Reader, model: str, **fields: object) -> str:
    """Submit as another service would, and return the job's id."""
    known = catalog.simulated(stack.base_url)
    submission = Submission(
        reader.store.jobs, reader.log, stack.wake, stack.dispatch, known, settings.Settings()
    )
    job = await submission.submit({"request": chat(model), **fields})
    return job.id


async def deferred(reader: Reader, id: str) -> Job:
    """The job, as soon as it waits in the database for another time."""

    async def waits() -> bool:
        job = await reader.store.jobs.get(id)
        return job.state == "queued" and job.scheduled_at is not None

    await until(waits)
    return await reader.store.jobs.get(id)


async def first_retrying(reader: Reader, id: str) -> Retrying:
    """What readers are told of the first attempt that comes to nothing, as soon as they are."""
    async with aclosing(reader.follower.follow(id)) as following:
        return await anext(event async for event in following if isinstance(event, Retrying))


def retryings(events: list[ChannelEvent]) -> list[Retrying]:
    """What readers were told of attempts that came to nothing."""
    return [event for event in events if isinstance(event, Retrying)]
