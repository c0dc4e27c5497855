"""How many sockets a process may have."""

import resource


def allow_many_sockets() -> None:
    """As many as it can get: each stream and each reader is one, the usual soft limit 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
