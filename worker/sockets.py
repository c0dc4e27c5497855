"""How many sockets a process may have."""

import resource


def allow_many_sockets() -> None:
    """As many as it can get, and all that it starts: the usual soft limit is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
