"""When a training has converged (report, section 1.2)."""

from collections.abc import Sequence
from statistics import fmean

from fmx_ml.sinks import EpochMetrics
from fmx_ml.specs import EarlyStopping


def has_converged(losses: Sequence[float], rule: EarlyStopping) -> bool:
    """Whether the mean of the last window exceeds that of the window before by the threshold.

    The arithmetic is the report's on purpose: nothing stops before min_epochs; the earlier window
    is shorter than `window` until there are two windows of epochs, and while it is empty nothing
    stops (the report compares with the mean of nothing, NaN). Losses are those of epochs 1, 2, …
    """
    if len(losses) < rule.min_epochs:
        return False
    recent = losses[-rule.window :]
    earlier = losses[-2 * rule.window : -rule.window]
    return bool(earlier) and fmean(recent) - fmean(earlier) > rule.threshold


def watched_losses(
    history: Sequence[EpochMetrics], rule: EarlyStopping, batch_size: int
) -> list[float]:
    """The losses that a rule looks at: those it names, over the batch size where it says so.

    The report's Q4 divides a sum of batch means by the number of pictures (Appendix E).
    """
    divisor = batch_size if rule.divide_by_batch_size else 1
    losses = [getattr(metrics, rule.on) for metrics in history]
    return [loss / divisor for loss in losses]
