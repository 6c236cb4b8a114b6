"""The figures of Q4: figure 16, and what autoencoders make of pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

from fmx_ml.data.classes import all_names
from fmx_ml.experiments import q4_autoencoders, shared, sweeps
from fmx_ml.experiments.q4_autoencoders import Encoders, Whose
from fmx_ml.experiments.q4_spec import MlpConfiguration, Q4Spec, say_sizes
from fmx_ml.experiments.q4_tables import PARTS, Runs, Start, Sweep
from fmx_ml.experiments.shared import Outcomes
from fmx_ml.files import CODES_FILE, RECONSTRUCTIONS_FILE
from fmx_ml.plots.recipes import CodeSpace, Curves, Lines, Recipe, Reconstructions
from fmx_ml.questions import Drawing, Finished
from fmx_ml.results import RunOutcome

_NUMBERS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss",
            "test_accuracy")  # fmt: skip
_SHOWN = ("train", "val")  # figure 16 has no test accuracy
_PICTURES: dict[str, tuple[Start, Start]] = {
    "figure-16-accuracy": ("random", "report"),
    "figure-16-accuracy-own": ("own_random", "own"),
}
_SHORT_LABELS: dict[Start, str] = {
    "random": "random", "report": "pre-trained", "own_random": "random", "own": "pre-trained",
}  # fmt: skip


def draw_sweep(job: Finished[Q4Spec], sweep: Sweep, qualifier: str) -> list[Drawing]:
    """Figure 16, and the same with our own encoder."""
    pairs = {
        name: _draw_pair(job.spec, {start: sweep[start] for start in pair if start in sweep},
                         qualifier)
        for name, pair in _PICTURES.items()
        if any(start in sweep for start in pair)
    }  # fmt: skip
    pictures: dict[str, Recipe] = {
        name: lines for name, lines in pairs.items() if any(series.x for series in lines.series)
    }
    if not pictures:
        return []
    return [
        Drawing(
            number="16",
            title=f"Accuracy against the share of the training pictures{qualifier}",
            pictures=pictures,
            numbers={"figure-16": sweeps.list_numbers(sweep, _NUMBERS)},
        )
    ]


def _draw_pair(spec: Q4Spec, sweep: Mapping[Start, Runs], qualifier: str) -> Lines:
    is_own = "own" in sweep or "own_random" in sweep
    encoder = f"{q4_autoencoders.name_encoder('own' if is_own else 'report', spec)} encoder"
    return Lines(
        title=f"Pre-training by {encoder}{qualifier}",
        subtitle=" · ".join([
            shared.name_data(spec.data, spec.half),
            _name_mlp(spec.own_mlp if is_own else spec.mlp),
            f"{spec.sweep_epochs} epochs",
            shared.name_seeds(sweeps.list_outcomes(sweep)),
        ]),
        x_label="share of the training pictures (%)",
        y_label="accuracy of the best epoch",
        series=[
            sweeps.make_series(
                runs,
                f"{part}_accuracy",
                label=f"{_SHORT_LABELS[start]}, {PARTS[part]}",
                group=group,
                dashed=part == "train",
            )
            for group, (start, runs) in enumerate(sweep.items())
            for part in _SHOWN
        ],
    )  # fmt: skip


def _name_mlp(mlp: MlpConfiguration) -> str:
    return " · ".join([
        f"{say_sizes(mlp.model)}, {mlp.model.output}",
        shared.name_optimiser(mlp.optimiser),
        f"batch {mlp.batch_size}",
    ])  # fmt: skip


def draw_encoders(job: Finished[Q4Spec], encoders: Encoders, qualifier: str) -> list[Drawing]:
    """Reconstructions, code space and training of each autoencoder that is looked at."""
    found = encoders.items()
    return [
        *(_draw_reconstructions(job, whose, outcomes, qualifier) for whose, outcomes in found),
        *(_draw_codes(job, whose, outcomes, qualifier) for whose, outcomes in found),
        *(_draw_curves(job.spec, whose, outcomes, qualifier) for whose, outcomes in found),
    ]


def _name(whose: Whose, spec: Q4Spec) -> str:
    return f"{q4_autoencoders.name_encoder(whose, spec)} autoencoder"


def _list_names(spec: Q4Spec) -> list[str]:
    return list(all_names(spec.data))


def _describe(spec: Q4Spec, outcomes: Outcomes, *further: str) -> str:
    training = q4_autoencoders.training_of(outcomes[0])
    return " · ".join([
        shared.name_data(spec.data),
        q4_autoencoders.name_autoencoder(training),
        shared.name_seeds(outcomes),
        *further,
    ])  # fmt: skip


def _say_error(outcome: RunOutcome) -> str:
    collapsed = ", collapsed" if outcome.summary["collapsed"] else ""
    return f"error {outcome.summary['train_mse']:.4f}{collapsed}"


def _draw_reconstructions(
    job: Finished[Q4Spec], whose: Whose, outcomes: Outcomes, qualifier: str
) -> Drawing:
    """Test pictures of every class; what is shown of fm2 was learnt from."""
    first = outcomes[0]
    title = f"Reconstructions: {_name(whose, job.spec)}{qualifier}"
    recipe = Reconstructions(
        title=title,
        subtitle=_describe(job.spec, [first], _say_error(first)),
        path=job.artifact(first.name, RECONSTRUCTIONS_FILE),
        names=_list_names(job.spec),
    )
    name = f"reconstructions-{whose}"
    return Drawing(number=name, title=title, pictures={name: recipe})


def _draw_codes(job: Finished[Q4Spec], whose: Whose, outcomes: Outcomes, qualifier: str) -> Drawing:
    """The code in two dimensions: its principal components."""
    first = outcomes[0]
    title = f"Code space: {_name(whose, job.spec)}{qualifier}"
    x_label, y_label = _name_components(first.summary)
    recipe = CodeSpace(
        title=title,
        subtitle=_describe(job.spec, [first], _say_error(first)),
        path=job.artifact(first.name, CODES_FILE),
        names=_list_names(job.spec),
        x_label=x_label,
        y_label=y_label,
    )
    name = f"code-space-{whose}"
    return Drawing(number=name, title=title, pictures={name: recipe})


def _name_components(summary: Mapping[str, Any]) -> tuple[str, str]:
    """The axes, with the share of the code's variance that each explains where it is known."""
    shares: Sequence[float | None] = summary.get("code_explained") or (None, None)
    first, second = (
        f"{ordinal} principal component of the code"
        + (f" ({_say_share(share)} of its variance)" if share is not None else "")
        for ordinal, share in zip(("first", "second"), shares, strict=True)
    )
    return first, second


def _say_share(share: float) -> str:
    """A share that is not quite none or all is said to be so."""
    if round(100 * share) in {0, 100} and not share.is_integer():
        return "under 1%" if share < 1 / 2 else "over 99%"
    return f"{share:.0%}"


def _draw_curves(spec: Q4Spec, whose: Whose, outcomes: Outcomes, qualifier: str) -> Drawing:
    """Errors by epoch; the best epoch is the one with the lowest training error."""
    title = f"Mean squared error by epoch: {_name(whose, spec)}{qualifier}"
    several = ["bold: mean", "dots: best epochs"] if len(outcomes) > 1 else []
    recipe = Curves(
        title=title,
        subtitle=_describe(spec, outcomes, *several),
        quantity="mean squared error",
        curves=shared.make_curves(outcomes, "loss"),
    )
    name = f"autoencoder-training-{whose}"
    numbers = {name: shared.make_curve_numbers(outcomes, "loss")}
    return Drawing(number=name, title=title, pictures={name: recipe}, numbers=numbers)
