"""How many deltas a second one simulator process writes on one core.

    python -m ops.bench.simulator_rate                             flat out
    python -m ops.bench.simulator_rate --streams 4000 --rate 20    paced

A simulator runs as a process of its own; this one only drains its sockets, so that the reader is
never what is measured. Deltas and CPU time are the simulator's own: its record, its rusage.
"""

import argparse
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.parse import urlsplit

from worker.sockets import allow_many_sockets


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=0, help="default: about 5 s of work")
    parser.add_argument("--rate", type=float, default=0, help="tokens/s a stream; 0 is flat out")
    return parser.parse_args()


def _request(model: str) -> bytes:
    message = {"role": "user", "content": "measure"}
    body = json.dumps({"model": model, "stream": True, "messages": [message]}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _open(port: int, streams: int, request: bytes) -> selectors.BaseSelector:
    selector = selectors.DefaultSelector()
    for _ in range(streams):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(request)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, sock)
    return selector


def _drain(selector: selectors.BaseSelector) -> int:
    """Read every socket to its end; returns the bytes read."""
    buffer = bytearray(1 << 20)
    total = 0
    while selector.get_map():
        for key, _ in selector.select():
            count = key.data.recv_into(buffer)
            total += count
            if count == 0:
                selector.unregister(key.data)
                key.data.close()
    return total


def main() -> None:
    """Run one measurement and print it."""
    arguments = _arguments()
    tokens = arguments.tokens or int(5 * arguments.rate) or 600_000 // arguments.streams
    allow_many_sockets()
    command = [sys.executable, "-m", "worker.simulator"]
    simulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert simulator.stdout is not None
    base = urlsplit(simulator.stdout.readline().split()[1])
    started = time.monotonic()
    model = f"sim?tokens={tokens}&rate={arguments.rate:g}&ttft=0"
    received = _drain(_open(base.port or 0, arguments.streams, _request(model)))
    elapsed_s = time.monotonic() - started
    with urllib.request.urlopen(f"http://{base.netloc}/record/summary") as reply:
        summary = json.load(reply)
    simulator.send_signal(signal.SIGTERM)
    _, _, used = os.wait4(simulator.pid, 0)
    cpu_s = used.ru_utime + used.ru_stime
    deltas = summary["deltas"]
    sys.stdout.write(
        f"{summary['requests']} streams, {deltas:,} deltas, {received / 1e6:.0f} MB in "
        f"{elapsed_s:.2f} s: {deltas / elapsed_s:,.0f} deltas/s; simulator CPU {cpu_s:.2f} s, "
        f"{cpu_s / deltas * 1e6:.1f} us a delta, {used.ru_maxrss / 1024:.0f} MB\n"
    )


if __name__ == "__main__":
    main()
