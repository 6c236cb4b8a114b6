"""When a training has converged (report, section 1.2)."""

from collections.abc import Sequence
from statistics import fmean

from fmx_ml.specs import EarlyStopping


def has_converged(val_losses: Sequence[float], rule: EarlyStopping) -> bool:
    """Whether the mean of the last window exceeds that of the window before by the threshold.

    The arithmetic is the report's on purpose: nothing stops before min_epochs; the earlier window
    is shorter than `window` until there are two windows of epochs, and while it is empty nothing
    stops (the report compares with the mean of nothing, NaN). Losses are those of epochs 1, 2, …
    """
    if len(val_losses) < rule.min_epochs:
        return False
    recent = val_losses[-rule.window :]
    earlier = val_losses[-2 * rule.window : -rule.window]
    return bool(earlier) and fmean(recent) - fmean(earlier) > rule.threshold
