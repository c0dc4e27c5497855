"""Which addresses of a name may be asked: the connection then goes to these and to no other.

So a name that leads to a public address when it is checked, and to a private one when it is asked,
gains nothing: it is looked up once.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from worker.addresses import is_public
from worker.transport import Addresses

# The names are strangers', and so are the servers that are asked for them: a slow one must not
# hold the threads in which the loop looks up upstreams.
THREADS = 8

Resolve = Callable[[str, int], Addresses]


def resolve(host: str, port: int) -> Addresses:
    """What the machine's resolver says, however long that takes. Raises `OSError`."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class NotPublic(OSError):
    """The name has no public address."""


class PublicAddresses:
    """Looks names up and keeps what is public.

    Args:
        private: whether all else is kept as well.
        resolve: the addresses of a host and port; called in a thread.
    """

    def __init__(self, *, private: bool, resolve: Resolve = resolve) -> None:
        self._private = private
        self._resolve = resolve
        self._threads = ThreadPoolExecutor(THREADS, "webhook-names")

    async def __call__(self, host: str, port: int) -> Addresses:
        """The addresses that may be asked, one at least.

        Raises:
            NotPublic: the name has others only.
            OSError: it has none.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._resolve, host, port)
        public = [one for one in found if self._private or is_public(one[4][0])]
        if not public:
            raise NotPublic("the name has no public address")
        return public

    def close(self) -> None:
        """Look nothing up any more; what is under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
