import json
import re

from fmx_ml.experiments.q1 import Q1Figures, Q1Spec
from fmx_ml.experiments.q2 import Q2Spec
from fmx_ml.experiments.q4 import Q4Spec
from fmx_ml.published import list_errata, published_figures, require_published
from fmx_ml.requests import KINDS


def test_the_reports_q1_is_the_default_spec() -> None:
    config, spec = published_figures("q1")["config"], Q1Spec()
    assert (config["conv_layers"], config["dense_layers"]) == (2, 2)
    assert (spec.model.conv_layers, spec.model.dense_layers) == (2, 2)
    assert config["optimiser"] == spec.optimiser.name
    assert config["learning_rate"] == spec.optimiser.learning_rate
    assert config["weight_decay"] == spec.optimiser.weight_decay
    assert config["batch_size"] == spec.batch_size
    assert config["max_epochs"] == spec.max_epochs


def test_the_reports_q2_is_the_default_spec() -> None:
    models = Q2Spec().models
    assert models is not None
    rows = [
        [
            model.model.conv_layers, model.model.dense_layers, model.optimiser.name,
            model.optimiser.learning_rate, model.optimiser.weight_decay,
        ]
        for model in models
    ]  # fmt: skip
    assert rows == [row[1:6] for row in published_figures("q2")["rows"]]


def test_the_reports_q4_is_the_default_spec() -> None:
    published, spec = published_figures("q4"), Q4Spec()
    grid = published["autoencoder_grid"]
    printed = [[tuple(layer) for layer in layers] for layers in grid["structures_as_printed"]]
    ours = [list(structure) for structure in spec.grid.structures]
    assert ours[:3] == printed[:3]  # the fourth does not fit together (erratum 14)
    assert list(spec.grid.batch_sizes) == grid["batch_sizes"]
    assert list(spec.grid.learning_rates) == grid["learning_rates"]
    best = published["autoencoder_best"]
    assert [list(layer) for layer in spec.encoder.model.structure] == best["structure"]
    assert spec.encoder.batch_size == best["batch_size"]
    assert spec.encoder.optimiser.learning_rate == best["learning_rate"]
    assert list(spec.mlp.model.sizes) == published["mlp"]["structure"]
    assert spec.sweep_epochs == published["mlp"]["sweep_epochs"]


def test_early_stopping_is_the_reports() -> None:
    rule, ours = published_figures("q1")["early_stopping"], Q1Spec().early_stopping
    assert ours is not None
    assert (rule["window"], rule["threshold"], rule["min_epochs"]) == (
        ours.window, ours.threshold, ours.min_epochs,
    )  # fmt: skip


def test_the_published_figures() -> None:
    published = require_published("q1", Q1Figures)
    assert published.best_epoch == 205
    accuracy = published.accuracy
    assert (accuracy.train, accuracy.val, accuracy.test) == (0.9890, 0.9832, 0.9816)
    content = published_figures("q1")
    assert content["accuracy"] == {"train": 0.9890, "val": 0.9832, "test": 0.9816}
    assert json.loads(json.dumps(content)) == content
    assert len(content["errata"]) == len(list_errata("q1"))


def test_every_erratum_is_numbered_and_says_both_sides() -> None:
    errata = {erratum.number: erratum for kind in KINDS for erratum in list_errata(kind)}
    assert sorted(errata) == list(range(1, 32))
    for erratum in errata.values():
        assert erratum.where
        for text in (erratum.says, erratum.done):
            assert re.fullmatch(r"\S.*\.", text)


def test_errata_of_a_kind_come_in_order() -> None:
    numbers = [erratum.number for erratum in list_errata("q1")]
    assert numbers == [1, 2, 3, 5, 6, 7, 21, 22]


def test_a_kind_that_the_report_does_not_have() -> None:
    assert published_figures("q6") == {}
    assert list_errata("q6") == []
