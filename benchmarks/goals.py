"""What each row should reach at least, and what it aims at, on two cores."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Goal:
    """Two bounds of a row's value; `lower_is_better` turns them into at most and below."""

    needed: float
    aim: float | None = None
    lower_is_better: bool = False

    def verdict(self, value: float) -> Literal["aim", "yes", "no"]:
        """What a value reaches: the aim, what is needed, or neither."""
        if self.aim is not None and self._is_met(value, self.aim):
            return "aim"
        return "yes" if self._is_met(value, self.needed) else "no"

    def _is_met(self, value: float, bound: float) -> bool:
        return value <= bound if self.lower_is_better else value >= bound


def _at_most(needed: float, aim: float | None = None) -> Goal:
    return Goal(needed, aim, lower_is_better=True)


GOALS = {
    "q1_epoch": Goal(30, 50),
    "q1_epoch_no_compiler": Goal(6, 8),
    "q2_run_epochs": Goal(30, 50),
    "q3_epoch": Goal(3, 6),
    "mlp_runs": Goal(14, 50),
    "autoencoder_runs": Goal(9, 30),
    "frozen_transfer_runs": Goal(300, 1_000),
    "predict_json_vs_litserve": Goal(4, 6),
    "predict_json_p99_vs_litserve": Goal(2),
    "predict_binary_pictures_per_second": Goal(20_000, 60_000),
    "submissions_per_second": Goal(500, 1_000),
    "polls_per_second": Goal(1_500, 3_000),
    "list_100k_p99_ms": _at_most(60, 20),
    "queued_to_running_embedded_p99_ms": _at_most(300, 150),
    "queued_to_running_redis_p99_ms": _at_most(150),
    "overhead_percent": _at_most(3, 1),
    "server_start_seconds": _at_most(1.5, 0.8),
    "server_rss_mb": _at_most(150, 100),
}
"""By the row's name; other rows have none. Ratios are times as fast as the other side."""
