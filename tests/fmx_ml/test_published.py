import json
import re

from fmx_ml.published import list_errata, published_figures, require_q1
from fmx_ml.specs import Q1Spec


def test_the_reports_q1_is_the_default_spec() -> None:
    config, spec = require_q1().config, Q1Spec()
    assert (config.conv_layers, config.dense_layers) == (2, 2)
    assert (spec.model.conv_layers, spec.model.dense_layers) == (2, 2)
    assert config.optimiser == spec.optimiser.name
    assert config.learning_rate == spec.optimiser.learning_rate
    assert config.weight_decay == spec.optimiser.weight_decay
    assert config.batch_size == spec.batch_size
    assert config.max_epochs == spec.max_epochs


def test_early_stopping_is_the_reports() -> None:
    rule, ours = published_figures("q1")["early_stopping"], Q1Spec().early_stopping
    assert (rule["window"], rule["threshold"], rule["min_epochs"]) == (
        ours.window, ours.threshold, ours.min_epochs,
    )  # fmt: skip


def test_the_published_figures() -> None:
    published = require_q1()
    assert published.best_epoch == 205
    accuracy = published.accuracy
    assert (accuracy.train, accuracy.val, accuracy.test) == (0.9890, 0.9832, 0.9816)
    content = published_figures("q1")
    assert content["accuracy"] == {"train": 0.9890, "val": 0.9832, "test": 0.9816}
    assert json.loads(json.dumps(content)) == content
    assert len(content["errata"]) == len(list_errata("q1"))


def test_errata_are_numbered_and_say_both_sides() -> None:
    errata = list_errata("q1")
    assert [erratum.number for erratum in errata] == [1, 2, 3, 5, 6, 7, 21, 22]
    for erratum in errata:
        assert erratum.where
        for text in (erratum.says, erratum.done):
            assert re.fullmatch(r"[A-Z].*\.|max_epochs .*\.", text)
