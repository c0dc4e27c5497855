"""Webhooks: a signed POST that says how a job ended, after Standard Webhooks, in OpenAI's shape.

At least once: a receiver knows a second one by its `webhook-id`. The database says what is to be
told, so that neither a crash nor a receiver's long absence loses anything.

event       the event's body, and the headers that sign it
addresses   which addresses of a name may be asked
sender      one POST, to a checked address and nowhere else
silence     receivers that do not answer, so that others need not wait for them
delivery    who is told when, and when again
"""

from worker.webhooks.addresses import PublicAddresses
from worker.webhooks.delivery import Deliveries
from worker.webhooks.event import Signer
from worker.webhooks.sender import Sender, open_sender

__all__ = ["Deliveries", "PublicAddresses", "Sender", "Signer", "open_sender"]
