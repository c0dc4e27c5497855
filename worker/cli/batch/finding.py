"""The batch that an id on the command line means."""

from models import Batch
from worker.batch.request import BATCH
from worker.errors import BatchNotFound, InvalidRequest
from worker.runtime import Client
from worker.submission import TENANT

# What is to be known of a batch where nothing may run that would run it.
RUNS_WHILE = "it runs while `deltaworks up`, or `deltaworks batch watch` of it, does"
# An abbreviation has to be as long, and means one of the newest so many.
LEAST = len(BATCH) + 6
NEWEST = 200


async def found(client: Client, given: str) -> Batch:
    """The batch with this id, or the only one of the newest whose id begins so.

    Raises:
        BatchNotFound: there is none.
        InvalidRequest: there are several.
    """
    try:
        return await client.store.batches.get(given)
    except BatchNotFound:
        if len(given) < LEAST:
            raise
        newest = await client.store.batches.page(TENANT, NEWEST)
        meant = [batch for batch in newest if batch.id.startswith(given)]
        if len(meant) > 1:
            problem = f"{given!r} begins the ids of {len(meant)} batches"
            raise InvalidRequest("BATCH", problem, "give more of it") from None
        if not meant:
            raise
        return meant[0]
