"""A job that failed or was cancelled, as an answer."""

from models import Job
from worker.gateway.answers import JOB
from worker.gateway.refusals import Refusal
from worker.openai.failure import failure_of


def refusal_for(job: Job) -> Refusal:
    """The answer that tells why the job has no output.

    A client need not try again: our own retries are spent, or would not help.
    """
    failure = failure_of(job)
    headers = {"x-should-retry": "false", JOB: job.id}
    return Refusal(
        failure.status, failure.message, type=failure.type, code=failure.code, headers=headers
    )
