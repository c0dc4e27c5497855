"""Readers by the thousand, and chats relayed, beside LiteLLM's proxy.

    python -m ops.bench.gateway                       one run
    python -m ops.bench.gateway --runs 3 --publish    three, written to ops/bench/RESULTS-gateway.md

Each measurement has processes of its own: a Redis, the simulator, what is measured, and one
process of all clients.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ops.bench.gateway import fanout, page, relayed
from ops.bench.gateway.systems import Direct, Gateway, LiteLLM, Relay
from ops.bench.processes import allow_many_sockets

PAGE = Path(__file__).parents[1] / "RESULTS-gateway.md"
SYSTEMS: dict[str, Callable[[], Relay]] = {
    "gateway": Gateway,
    "litellm": LiteLLM,
    "direct": Direct,
}


def main() -> None:
    """Measure, print, and publish where that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", choices=["fanout", "relayed"], help="not both")
    parser.add_argument("--streams", type=int, nargs="+", default=[200])
    parser.add_argument("--systems", choices=list(SYSTEMS), nargs="+", default=list(SYSTEMS))
    parser.add_argument("--publish", action="store_true", help="write ops/bench/RESULTS-gateway.md")
    arguments = parser.parse_args()
    allow_many_sockets()
    fans: list[fanout.Result] = []
    relays: list[relayed.Result] = []
    for _ in range(arguments.runs):
        for readers, jobs, rate in fanout.LOADS if arguments.only != "relayed" else ():
            fans.append(fanout.measure(readers, jobs, rate))
            sys.stdout.write(f"{fans[-1]}\n")
        for streams in arguments.streams if arguments.only != "fanout" else ():
            for name in arguments.systems:
                relays.append(relayed.measure(SYSTEMS[name](), streams))
                sys.stdout.write(f"{relays[-1]}\n")
        sys.stdout.flush()
    text = page.page(fans, relays)
    sys.stdout.write(f"\n{text}")
    if arguments.publish:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
