"""`python -m worker.engines HOME NAME PLAN KEEPER_LOCK`: the process of a keeper.

PLAN is a `Plan` as JSON, KEEPER_LOCK the number of an inherited descriptor that holds keeper.lock;
it stays open, and so held, for as long as this process lives.
"""

import logging
import os
import sys
from pathlib import Path

import msgspec

from worker.engines.folder import engine_folder
from worker.engines.keeper import Keeper, Plan
from worker.errors import EngineFailed


def main() -> None:
    """Detach from the command that joins, and keep the engine."""
    home, name, plan, keeper_lock = sys.argv[1:]
    os.set_inheritable(int(keeper_lock), False)
    # The joiner waits for this process, so it is left without a child: one that it did not reap
    # would stay a zombie for as long as the joiner lives.
    if os.fork():
        os._exit(0)
    logging.basicConfig(format="%(asctime)s keeper: %(message)s")
    try:
        Keeper(engine_folder(Path(home), name), msgspec.json.decode(plan, type=Plan)).run()
    except EngineFailed as error:
        sys.exit(f"keeper: {error}")


if __name__ == "__main__":
    main()
