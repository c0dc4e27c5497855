"""Ends of jobs that wait for the database, in files on this machine.

What an upstream has said and been paid for is not lost with a database that is away for longer
than the job's lease: its settlement waits here, is written by the same fence when the database is
back, by this process or by the next one, and announced then. Rescuing a job takes the database a
whole lease, so what waits here normally comes first; where it does not, it loses quietly.

folder   the files: written whole, for nobody else to read, bounded
spool    keeping, settling, announcing
"""

from worker.spool.folder import SpoolFolder
from worker.spool.spool import Spool

__all__ = ["Spool", "SpoolFolder"]
