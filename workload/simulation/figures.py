"""The statistics that executors send with steps and runs."""

from execstream.workload.simulation.draws import Draws
from execstream.workload.simulation.wire import Fields

_MODEL_SHARE = {"AI": 1.0, "STANDARD": 0.3}


def step_stats(draws: Draws, block_type: str) -> Fields:
    """The usage of a step; walltime and cputime in seconds, cost in cents."""
    walltime = draws.figure(3)
    stats: Fields = {
        "walltime": walltime,
        "cputime": round(walltime * 0.07, 6),
        "input_size": draws.integer(10, 4_000),
        "output_size": draws.integer(10, 4_000),
        "llm_call_count": 0,
        "input_token_count": 0,
        "output_token_count": 0,
        "cost": 0,
    }
    if draws.happens(_MODEL_SHARE.get(block_type, 0.0)):
        stats["llm_call_count"] = 1
        stats["input_token_count"] = draws.integer(50, 8_000)
        stats["output_token_count"] = draws.integer(10, 2_000)
        stats["cost"] = draws.integer(1, 30)
    return stats


class RunFigures:
    """The totals of a run as its steps end."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._walltime = 0.0
        self._cputime = 0.0
        self._cost = 0
        self._steps = 0
        self._errors = 0

    def after(self, stats: Fields) -> Fields:
        """Add an ended step; the run's stats with it."""
        self._walltime += stats["walltime"]
        self._cputime += stats["cputime"]
        self._cost += stats["cost"]
        self._steps += 1
        self._errors += "error" in stats
        return self.so_far()

    def so_far(self) -> Fields:
        """The run's stats."""
        return {
            "walltime": round(self._walltime * 1.1, 6),
            "cputime": round(self._cputime * 1.1, 6),
            "nodes_walltime": round(self._walltime, 6),
            "nodes_cputime": round(self._cputime, 6),
            "node_count": self._steps,
            "node_error_count": self._errors,
            "cost": self._cost,
        }

    def final(self) -> Fields:
        """The run's stats with the verdict at its end."""
        verdict = {
            "activity_status": self._draws.text(80),
            "correctness_score": self._draws.figure(1),
        }
        return self.so_far() | verdict
