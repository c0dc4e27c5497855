"""`python -m worker.simulator`: the simulator as a process of its own."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from worker.simulator import serve
from worker.simulator.faults import FAULTS, PATTERNS
from worker.simulator.script import Plan


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _print_faults() -> None:
    sentences = {name: fault.sentence for name, fault in FAULTS.items()} | PATTERNS
    for name, sentence in sentences.items():
        _say(f"{name:22} {sentence}")


def _parsed(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deltaworks simulator", description=Plan.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--record", type=Path, metavar="FILE", help="append JSON lines here")
    parser.add_argument(
        "--record-limit", type=int, default=20_000, metavar="N", help="requests kept in memory"
    )
    parser.add_argument("--limit-requests-per-minute", type=int, default=0, metavar="N")
    parser.add_argument(
        "--limit-burst", type=int, default=0, metavar="N", help="at once; 0 is a minute's worth"
    )
    parser.add_argument(
        "--no-limit-headers", action="store_true", help="only refusals tell of the limit"
    )
    parser.add_argument("--faults", action="store_true", help="list the faults and exit")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM, or list the faults; `given` are the arguments, else the process's."""
    arguments = _parsed(given)
    if arguments.faults:
        _print_faults()
        return
    serve(
        arguments.host,
        arguments.port,
        ready=lambda base_url: _say(f"listening {base_url}"),
        record_path=arguments.record,
        requests_per_minute=arguments.limit_requests_per_minute,
        burst=arguments.limit_burst,
        limit_headers=not arguments.no_limit_headers,
        record_limit=arguments.record_limit,
    )


if __name__ == "__main__":
    main()
