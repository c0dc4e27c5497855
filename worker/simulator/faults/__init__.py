"""The table of faults: every way the simulator can misbehave, by name.

`python -m worker.simulator --faults` prints it.
"""

import re

from worker.errors import InvalidRequest
from worker.simulator.faults.cuts import CUTS
from worker.simulator.faults.encodings import ENCODINGS
from worker.simulator.faults.fault import Fault
from worker.simulator.faults.instream import IN_STREAM, finish_fault
from worker.simulator.faults.limits import LIMITS
from worker.simulator.faults.refusals import REFUSALS, error_body, status_fault

FAULTS: dict[str, Fault] = {
    fault.name: fault for fault in (*REFUSALS, *LIMITS, *IN_STREAM, *CUTS, *ENCODINGS)
}

PATTERNS = {
    "status-NNN": "HTTP NNN (300 to 599) in OpenAI's shape; retry-after if wait=SECONDS is given.",
    "finish-REASON": "In mid-stream finish_reason REASON, such as content_filter, error or abort.",
}
"""Names that stand for many faults."""

__all__ = ["FAULTS", "PATTERNS", "Fault", "error_body", "find_fault"]


def find_fault(name: str) -> Fault:
    """The fault that `fault=name` asks for.

    Raises:
        InvalidRequest: there is none of this name.
    """
    if name in FAULTS:
        return FAULTS[name]
    if match := re.fullmatch(r"status-([345]\d\d)", name):
        return status_fault(int(match[1]))
    if match := re.fullmatch(r"finish-([a-z_]+)", name):
        return finish_fault(match[1])
    raise InvalidRequest(
        "model", f"fault={name[:40]!r} is unknown", "see python -m worker.simulator --faults"
    )
