"""Queueing what a client of OpenAI's asks for; what is wrong with it is said in OpenAI's words."""

from models import Job
from worker.access import Principal
from worker.errors import ModelNotServed
from worker.gateway.gateway import Gateway
from worker.gateway.refusals import Refusal


async def queued(
    gateway: Gateway,
    principal: Principal,
    document: dict[str, object],
    fields: dict[str, object] | None = None,
) -> Job:
    """The job that the request became, or was already; `fields` make it a response.

    Raises:
        Refusal: no upstream serves the model.
        DeltaworksError: as `Submission.submit` raises.
    """
    submission = gateway.client.submission
    try:
        return await submission.submit(document, tenant=principal.tenant, response_fields=fields)
    except ModelNotServed as error:
        message = f"model: {error.problem}; see GET /v1/models"
        raise Refusal(404, message, code="model_not_found", param="model") from None
