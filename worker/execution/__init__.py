"""Running jobs: claim, admit, stream, settle.

execution   the flow, on one screen
run         one hold on its way through its attempts
outcome     how a hold can end
admission   what an attempt asks of the limiter and tells it
records     what is kept of an attempt
"""

from worker.execution.execution import Execution

__all__ = ["Execution"]
