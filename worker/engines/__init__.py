"""The private servers that start when nothing is configured.

An engine is one background server in `<home>/engines/<name>/`, shared by all commands of one user.
The first to join starts it; it is stopped when the last one leaves, by whatever death. Nothing
counts users and nothing polls for them: every right is a flock(2), which the kernel takes back
from a dead process.

    users.lock    shared: every user, for life.        exclusive: the keeper, once no user is left
    start.lock    exclusive: who is joining
    keeper.lock   exclusive: the keeper, for life; handed to it by the joiner that starts it
    server.lock   exclusive: the server, for life, without knowing it; contains its pid
    address       where the server is reached; exists only while it is ready
    fingerprint   the settings the server was started with
    log, log.1    what the keeper and the server printed, this time and the time before

The keeper (`worker/engines/keeper.py`) is a detached process and the parent of the server. It
waits for the exclusive lock on users.lock, which is granted when the last user is gone, and then
ends the server and itself. POSIX only; `home` must be on a file system that has flock.
"""

from worker.engines.engine import Engine, Membership, join_process, join_redis, join_simulator
from worker.engines.servers import redis_server_binary

__all__ = [
    "Engine",
    "Membership",
    "join_process",
    "join_redis",
    "join_simulator",
    "redis_server_binary",
]
