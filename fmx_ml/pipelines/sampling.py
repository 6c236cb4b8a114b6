"""Which configuration a trial of a search tries, and when it is given up.

Optuna's samplers are asked by a study in memory that is rebuilt from the finished trials, so a
trial depends on nothing but its search, its number and the trials that it needs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fmx_ml.engine.seeding import derive_seed
from fmx_ml.engine.train import never
from fmx_ml.results import RunOutcome
from fmx_ml.search import Range, Sampling
from fmx_ml.sinks import EpochMetrics
from fmx_ml.trainings import TrialTraining

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Dimension = Range | tuple[Any, ...]

_STARTUP_TRIALS = 5  # that ran to their end before any is given up
_WARMUP_EPOCHS = 5  # at most, and a quarter of max_epochs: the first say little of the last
_MAX_NUMPY_SEED = 2**32


@dataclass(frozen=True)
class Proposal:
    """One value of each dimension, and whether a history is reason to give the trial up."""

    params: dict[str, Any]
    is_hopeless: Callable[[Sequence[EpochMetrics]], bool]


def propose(training: TrialTraining, earlier: Sequence[RunOutcome]) -> Proposal:
    """What the trial tries; equal trials with equal earlier ones get equal proposals.

    Momentum is asked for with SGD only. `is_hopeless` is the median rule: the best validation loss
    so far is worse than the median of the earlier trials' at this epoch (Golovin et al., 2017).
    """
    search = training.search
    if search.method == "grid" and not search.pruning:
        return Proposal(pick_of_grid(search, training.seed, training.number), never)
    trial = _make_study(training, earlier).ask()
    if search.method == "grid":
        params = pick_of_grid(search, training.seed, training.number)
    else:
        params = _ask(trial, search.space.dimensions())
    return Proposal(params, _make_median_rule(trial) if search.pruning else never)


def pick_of_grid(search: Sampling, seed: int, number: int) -> dict[str, Any]:
    """The grid's configuration of a number: each once, in an order that the seed spreads.

    The grid is counted, never built: it may have more points than there is memory for. A step that
    shares no factor with their count visits all of them.
    """
    axes = _axes_of(search)
    count = math.prod(map(len, axes))
    step = derive_seed(seed, "grid step") % count
    while math.gcd(step, count) != 1:
        step += 1
    index = (derive_seed(seed, "grid start") + step * number) % count
    params: dict[str, Any] = {}
    for axis in axes:
        index, place = divmod(index, len(axis))
        params |= axis[place]
    return params


def _axes_of(search: Sampling) -> list[list[dict[str, Any]]]:
    """What may be combined; only SGD goes with the choices of momentum."""
    choices = {
        name: dict.fromkeys(dimension)
        for name, dimension in search.space.dimensions().items()
        if not isinstance(dimension, Range)
    }
    momenta = [{"momentum": momentum} for momentum in choices.pop("momentum")]
    optimisers = [
        {"optimiser": name, **rest}
        for name in choices.pop("optimiser")
        for rest in (momenta if name == "SGD" else [{}])
    ]
    return [optimisers, *([{name: value} for value in values] for name, values in choices.items())]


def _ask(trial: "optuna.Trial", dimensions: Mapping[str, Dimension]) -> dict[str, Any]:
    """One value of each dimension; of those with one choice that is no question."""
    optimiser = _suggest(trial, "optimiser", dimensions["optimiser"])
    return {
        name: optimiser if name == "optimiser" else _suggest(trial, name, dimension)
        for name, dimension in dimensions.items()
        if name != "momentum" or optimiser == "SGD"
    }


def _suggest(trial: "optuna.Trial", name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Range):
        return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    if len(dimension) == 1:
        return dimension[0]
    return trial.suggest_categorical(name, dimension)


def _make_study(training: TrialTraining, earlier: Sequence[RunOutcome]) -> "optuna.Study":
    """A study that knows the earlier trials in the order of their numbers."""
    import optuna  # noqa: PLC0415 - half a second that only trials need

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = derive_seed(training.seed, "trial", training.number) % _MAX_NUMPY_SEED
    sampler = (
        optuna.samplers.TPESampler(seed=seed)
        if training.search.method == "tpe"
        else optuna.samplers.RandomSampler(seed=seed)
    )
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=_STARTUP_TRIALS,
        n_warmup_steps=min(_WARMUP_EPOCHS, training.max_epochs // 4),
    )
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    distributions = _distributions_of(training.search.space.dimensions())
    for outcome in sorted(earlier, key=lambda outcome: outcome.summary["trial"]["number"]):
        study.add_trial(_rebuild(outcome, distributions))
    return study


def _distributions_of(dimensions: Mapping[str, Dimension]) -> "dict[str, BaseDistribution]":
    """What Optuna is asked of; a dimension with one choice is none of it."""
    from optuna.distributions import (  # noqa: PLC0415 - as above
        CategoricalDistribution,
        FloatDistribution,
    )

    return {
        name: FloatDistribution(dimension.low, dimension.high, log=dimension.log)
        if isinstance(dimension, Range)
        else CategoricalDistribution(dimension)
        for name, dimension in dimensions.items()
        if isinstance(dimension, Range) or len(dimension) > 1
    }


def _rebuild(
    outcome: RunOutcome, distributions: "Mapping[str, BaseDistribution]"
) -> "optuna.trial.FrozenTrial":
    """A finished trial as Optuna knows it.

    One that diverged counts as given up where it did: so the sampler learns to keep away.
    """
    from optuna.trial import TrialState, create_trial  # noqa: PLC0415 - as above

    summary = outcome.summary
    params = {
        name: value for name, value in summary["trial"]["params"].items() if name in distributions
    }
    has_ended = not (summary["pruned"] or summary["diverged"])
    return create_trial(
        state=TrialState.COMPLETE if has_ended else TrialState.PRUNED,
        value=summary["val_loss"] if has_ended else None,
        params=params,
        distributions={name: distributions[name] for name in params},
        intermediate_values={
            metrics.epoch: metrics.val_loss
            for metrics in outcome.history
            if metrics.val_loss is not None
        },
    )


def _make_median_rule(trial: "optuna.Trial") -> Callable[[Sequence[EpochMetrics]], bool]:
    num_reported = 0

    def is_hopeless(history: Sequence[EpochMetrics]) -> bool:
        nonlocal num_reported
        # Several at once where the training goes on after the epochs of an earlier attempt.
        for metrics in history[num_reported:]:
            if metrics.val_loss is not None:
                trial.report(metrics.val_loss, metrics.epoch)
        num_reported = len(history)
        return history[-1].val_loss is not None and trial.should_prune()

    return is_hopeless
