"""HTTP/1.1 to upstreams, made for thousands of long streams: httpx's transport, our connections.

connection   one socket: what arrives goes through the parser straight to whoever takes it
body         a response's body, as httpx iterates it or pushed
dialing      from an address to an open connection: DNS, TCP, a proxy's tunnel, TLS
proxies      which proxy the environment names for a URL
head         a request's head, as bytes
transport    the pool of idle connections, and httpx's interface
"""

from worker.transport.body import Body
from worker.transport.dialing import Addresses
from worker.transport.transport import Answer, Prepared, Transport

__all__ = ["Addresses", "Answer", "Body", "Prepared", "Transport"]
