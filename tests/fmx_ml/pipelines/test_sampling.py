import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from cnn_cases import make_trial
from pydantic import ValidationError

from fmx_ml.engine.seeding import derive_seed
from fmx_ml.pipelines.sampling import pick_of_grid, propose
from fmx_ml.results import RunOutcome
from fmx_ml.search import Range, Sampling, configure
from fmx_ml.sinks import EpochMetrics

WIDE: dict[str, Any] = {
    "optimiser": ["SGD", "Adam"],
    "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "weight_decay": [0.0, 0.01],
    "momentum": [0.0, 0.5, 0.9],
    "width": [1, 2],
    "flip": [False, True],
}


def make_outcome(
    number: int, params: dict[str, Any], losses: Sequence[float] = (0.5,), **flags: bool
) -> RunOutcome:
    """A finished trial with these validation losses."""
    summary: dict[str, Any] = {
        "trial": {"number": number, "params": params},
        "pruned": False,
        "diverged": False,
        **flags,
    }
    if losses:
        summary["val_loss"] = min(losses)
    history = [EpochMetrics(epoch=n, val_loss=loss, seconds=1) for n, loss in enumerate(losses, 1)]
    return RunOutcome(
        name=f"trial-{number + 1}",
        training=make_trial(number),
        history=history,
        summary=json.loads(json.dumps(summary)),
    )


def search(method: str, *, pruning: bool = False, **space: Any) -> dict[str, Any]:
    return {"method": method, "pruning": pruning, "space": space}


def params_of(number: int, wanted: dict[str, Any], *earlier: RunOutcome) -> dict[str, Any]:
    return propose(make_trial(number, search=wanted), earlier).params


def test_a_grid_has_each_configuration_once() -> None:
    wanted = Sampling.model_validate(
        search(
            "grid",
            conv_layers=[1, 2, 4],
            optimiser=["SGD", "Adam", "AdamW"],
            learning_rate=[0.1, 0.01],
            momentum=[0.0, 0.9],
        )
    )
    count = 3 * (2 + 1 + 1) * 2 * 3 * 3  # dense layers and weight decays are the report's three
    picked = [pick_of_grid(wanted, 0, number) for number in range(count)]
    assert len({configure(params).model_dump_json() for params in picked}) == count
    assert all(("momentum" in params) == (params["optimiser"] == "SGD") for params in picked)
    assert picked == [pick_of_grid(wanted, 0, number) for number in range(count)]
    assert pick_of_grid(wanted, 0, count) == picked[0]


def test_a_seed_spreads_the_grid() -> None:
    """The first fifth of the numbers has every choice of every dimension."""
    wanted = Sampling.model_validate(search("grid", learning_rate=[0.1, 0.01, 0.001]))
    orders: set[str] = set()
    for seed in range(5):
        picked = [pick_of_grid(wanted, seed, number) for number in range(50)]
        orders.add(json.dumps(picked))
        for name, choices in wanted.space.dimensions().items():
            assert not isinstance(choices, Range)
            if name != "momentum":
                assert {params[name] for params in picked} == set(choices)
    assert len(orders) == 5


def test_a_grid_too_large_for_any_memory_is_no_trouble() -> None:
    many = [n / 1_000 for n in range(1, 33)]
    wanted = search(
        "grid",
        learning_rate=many,
        weight_decay=many,
        dropout=many,
        momentum=many,
        batch_size=list(range(10, 42)),
        width=list(range(1, 17)),
        shift=list(range(9)),
        flip=[False, True],
        batch_norm=[False, True],
        schedule=["constant", "cosine"],
    )
    picked = [params_of(number, wanted) for number in range(100)]
    assert len({configure(params).model_dump_json() for params in picked}) == 100


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_equal_trials_get_equal_proposals(method: str) -> None:
    wanted = search(method, **WIDE)
    proposals = [params_of(number, wanted) for number in range(8)]
    assert proposals == [params_of(number, wanted) for number in range(8)]
    assert len({json.dumps(params) for params in proposals}) == 8
    other = propose(make_trial(0, search=wanted, seed=1), ()).params
    assert other != proposals[0]


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_proposals_lie_in_the_space(method: str) -> None:
    wanted = search(method, **WIDE)
    found = [params_of(number, wanted) for number in range(40)]
    for params in found:
        configure(params)
        assert 0.001 <= params["learning_rate"] <= 0.1
        assert ("momentum" in params) == (params["optimiser"] == "SGD")
        assert params["batch_size"] == 100
    assert {params["optimiser"] for params in found} == {"SGD", "Adam"}
    assert {params["momentum"] for params in found if "momentum" in params} == {0.0, 0.5, 0.9}
    assert {params["flip"] for params in found} == {False, True}


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("learning_rate", 0.0, 0.1), ("weight_decay", -0.1, 0.1), ("dropout", 0.1, 1.0)],
)
def test_a_range_that_no_training_could_take_is_refused(name: str, low: float, high: float) -> None:
    with pytest.raises(ValidationError, match="it must"):
        Sampling.model_validate({"space": {name: {"low": low, "high": high}}})


def finish(wanted: dict[str, Any], count: int) -> list[RunOutcome]:
    """Trials whose loss is low with Adam and a high learning rate."""
    outcomes: list[RunOutcome] = []
    for number in range(count):
        params = params_of(number, {**wanted, "method": "random"})
        loss = 1 - 5 * params["learning_rate"] - 0.4 * (params["optimiser"] == "Adam")
        outcomes.append(make_outcome(number, params, (1.0, loss)))
    return outcomes


def test_tpe_learns_from_earlier_trials() -> None:
    wanted = search("tpe", **WIDE)
    earlier = finish(wanted, 24)
    found = [params_of(number, wanted, *earlier) for number in range(24, 64)]
    blind = [params_of(number, wanted) for number in range(24, 64)]
    assert Counter(params["optimiser"] for params in found)["Adam"] >= 30
    assert Counter(params["optimiser"] for params in blind)["Adam"] < 30
    rates = [sorted(params["learning_rate"] for params in each)[20] for each in (found, blind)]
    assert rates[0] > 2 * rates[1]


def test_a_rebuilt_study_proposes_what_a_live_one_does() -> None:
    """The same trials asked, reported and told in one study of Optuna's own."""
    wanted = search("tpe", **WIDE)
    earlier = finish(wanted, 14)
    earlier[3] = make_outcome(3, earlier[3].summary["trial"]["params"], (0.9, 0.8), pruned=True)
    earlier[5] = make_outcome(5, earlier[5].summary["trial"]["params"], (), diverged=True)
    ours = params_of(14, wanted, *reversed(earlier))

    study = optuna.create_study()
    for outcome in earlier:
        params = outcome.summary["trial"]["params"]
        study.enqueue_trial(params)
        trial = study.ask()
        suggest(trial)
        for metrics in outcome.history:
            assert metrics.val_loss is not None
            trial.report(metrics.val_loss, metrics.epoch)
        if outcome.summary["pruned"] or outcome.summary["diverged"]:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, outcome.summary["val_loss"])
    seed = derive_seed(0, "trial", 14) % 2**32
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    trial = study.ask()
    suggest(trial)
    assert trial.params == {name: ours[name] for name in trial.params}
    assert len(trial.params) >= len(WIDE) - 1


def suggest(trial: optuna.Trial) -> None:
    """In the order of the dimensions; the optimiser first, on which momentum hangs."""
    optimiser = trial.suggest_categorical("optimiser", ["SGD", "Adam"])
    trial.suggest_categorical("conv_layers", [1, 2, 4])
    trial.suggest_categorical("dense_layers", [1, 2, 3])
    trial.suggest_categorical("width", [1, 2])
    if optimiser == "SGD":
        trial.suggest_categorical("momentum", [0.0, 0.5, 0.9])
    trial.suggest_categorical("flip", [False, True])
    trial.suggest_float("learning_rate", 0.001, 0.1, log=True)
    trial.suggest_categorical("weight_decay", [0.0, 0.01])


def hopeless_from(
    losses: Sequence[float], earlier: Sequence[RunOutcome], asked_from: int = 1, **fields: Any
) -> list[int]:
    """The epochs after which a trial with these losses is given up, if asked from one epoch on."""
    wanted = search("random", **{"pruning": True, **WIDE, **fields.pop("search", {})})
    proposal = propose(make_trial(9, search=wanted, max_epochs=40, **fields), earlier)
    history = [EpochMetrics(epoch=n, val_loss=loss, seconds=1) for n, loss in enumerate(losses, 1)]
    epochs = range(asked_from, len(history) + 1)
    return [n for n in epochs if proposal.is_hopeless(history[:n])]


def with_losses(*losses: float, **flags: bool) -> list[RunOutcome]:
    """Five trials; in each epoch the median of their losses is the one given."""
    spreads = (-0.2, -0.1, 0, 0.1, 0.2)
    params = params_of(0, search("random", **WIDE))
    return [
        make_outcome(number, params, [loss + spreads[number] for loss in losses], **flags)
        for number in range(5)
    ]


MEDIANS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


def test_what_is_worse_than_the_median_is_hopeless_after_the_first_epochs() -> None:
    assert hopeless_from([loss + 0.01 for loss in MEDIANS], with_losses(*MEDIANS)) == [5, 6, 7]
    assert hopeless_from([loss - 0.01 for loss in MEDIANS], with_losses(*MEDIANS)) == []


def test_the_best_loss_so_far_is_what_counts() -> None:
    assert hopeless_from([0.1, *[2.0] * 6], with_losses(*MEDIANS)) == []


def test_a_trial_that_goes_on_after_a_break_knows_its_first_epochs() -> None:
    """Nobody asks again about those that an earlier attempt has trained."""
    good_once, bad = [0.1, *[2.0] * 6], [2.0] * 7
    assert hopeless_from(good_once, with_losses(*MEDIANS), asked_from=6) == []
    assert hopeless_from(bad, with_losses(*MEDIANS), asked_from=6) == [6, 7]


def test_few_or_given_up_trials_are_no_measure() -> None:
    bad = [2.0] * 7
    assert hopeless_from(bad, with_losses(*MEDIANS)) == [5, 6, 7]
    assert hopeless_from(bad, with_losses(*MEDIANS)[:4]) == []
    assert hopeless_from(bad, with_losses(*MEDIANS, pruned=True)) == []
    assert hopeless_from(bad, with_losses(*MEDIANS, diverged=True)) == []


def test_without_pruning_nothing_is_hopeless() -> None:
    assert hopeless_from([2.0] * 7, with_losses(*MEDIANS), search={"pruning": False}) == []


def test_a_grid_is_pruned_too() -> None:
    wanted = search("grid", pruning=True, learning_rate=[0.1, 0.01])
    earlier = [make_outcome(number, params_of(number, wanted), [0.5] * 6) for number in range(5)]
    proposal = propose(make_trial(5, search=wanted, max_epochs=40), earlier)
    history = [EpochMetrics(epoch=n, val_loss=0.6, seconds=1) for n in range(1, 7)]
    assert [proposal.is_hopeless(history[:n]) for n in range(1, 7)] == [*[False] * 4, True, True]
    assert proposal.params == params_of(5, {**wanted, "pruning": False})


def test_optuna_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    wanted = search("tpe", pruning=True, **WIDE)
    propose(make_trial(14, search=wanted), finish(wanted, 14))
    assert capfd.readouterr() == ("", "")


def test_only_trials_load_optuna() -> None:
    code = "import sys, fmx_ml.pipelines; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
