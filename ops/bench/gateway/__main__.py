"""Readers by the thousand, and chats relayed, beside LiteLLM's proxy.

    python -m ops.bench.gateway              one run
    python -m ops.bench.gateway --quick      fewer readers and streams: it shows that it works

Each measurement has processes of its own: a Redis, the simulator, what is measured, and one
process of all clients.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from ops.bench.gateway import fanout, page, relayed
from ops.bench.gateway.page import STREAMS
from ops.bench.gateway.systems import Direct, Gateway, LiteLLM, Relay
from ops.bench.page import hand_in
from worker.sockets import allow_many_sockets

# Where it only has to work: readers, jobs and deltas a second; and streams.
QUICK_LOADS, QUICK_STREAMS = ((100, 10, fanout.RATE),), [20]
SYSTEMS: dict[str, Callable[[], Relay]] = {
    "gateway": Gateway,
    "litellm": LiteLLM,
    "direct": Direct,
}


def main() -> None:
    """Measure, print, and hand in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", choices=["fanout", "relayed"], help="not both")
    parser.add_argument("--streams", type=int, nargs="+", default=[STREAMS])
    parser.add_argument("--systems", choices=list(SYSTEMS), nargs="+", default=list(SYSTEMS))
    parser.add_argument("--quick", action="store_true", help="less of everything")
    arguments = parser.parse_args()
    loads: Sequence[tuple[int, int, float]] = fanout.LOADS
    streams_of: Sequence[int] = arguments.streams
    if arguments.quick:
        loads, streams_of = QUICK_LOADS, QUICK_STREAMS
    allow_many_sockets()
    fans: list[fanout.Result] = []
    relays: list[relayed.Result] = []
    for _ in range(arguments.runs):
        for readers, jobs, rate in loads if arguments.only != "relayed" else ():
            fans.append(fanout.measure(readers, jobs, rate))
            sys.stdout.write(f"{fans[-1]}\n")
        for streams in streams_of if arguments.only != "fanout" else ():
            for name in arguments.systems:
                relays.append(relayed.measure(SYSTEMS[name](), streams))
                sys.stdout.write(f"{relays[-1]}\n")
        sys.stdout.flush()
    command = " ".join(["python -m ops.bench.gateway", *sys.argv[1:]])
    hand_in(page.report(fans, relays, arguments.runs, command))


if __name__ == "__main__":
    main()
