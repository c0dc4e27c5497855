"""An OpenAI-compatible upstream for demos, tests and benchmarks, over real sockets.

Never to be mistaken for a model: its models are named `sim...`, belong to `deltaworks-simulator`,
and every text begins with `[simulated]`. The model name chooses the behaviour:

    sim                                           60 tokens, 50 a second, the first after 0.15 s
    sim?tokens=300&rate=20&ttft=2                 longer, slower, later
    sim-fast  sim-slow  sim-long                  readable aliases; parameters may follow them too
    sim-reasoning  sim-tools                      reasoning first; calls of the offered tools
    sim?fault=cut-rst&at=10&times=2               the first two requests are reset after 10 deltas
    sim-fast?fault=status-503&wait=2              one HTTP 503 with retry-after: 2, then the answer

The parameters stand in `script.Plan`, the faults in `faults.FAULTS` (`python -m worker.simulator
--faults` prints both). A fault that a retry is meant to cure strikes the first request of a
conversation only; `times=K` or `times=all` changes that.

The same request always gets the same text, so that `completion.ground_truth` can recompute it; what
was really written stands in the record: `Simulator.record`, `GET /record`, `GET /record/summary`.
"""

from worker.simulator.server import Simulator, serve

__all__ = ["Simulator", "serve"]
