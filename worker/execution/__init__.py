"""Running jobs: claim, admit, stream, settle.

execution   the flow, on one screen
run         one hold on its way through its attempts
outcome     how a hold can end
admission   what an attempt asks of the limiter and tells it
records     what is kept of an attempt
rows        several bulk jobs of one wake-up
settling    writing what became of a hold, though the database be away
"""

from worker.execution.execution import Execution
from worker.execution.rows import Rows
from worker.execution.settling import Settling

__all__ = ["Execution", "Rows", "Settling"]
