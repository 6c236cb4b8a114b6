import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cnn_cases import Ran, run_reference, run_small
from ml_cases import make_training

from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.errors import ExportError, UserError
from fmx_ml.export import load_model, run_onnx
from fmx_ml.pipelines import cnn
from fmx_ml.results import NeededRun
from fmx_ml.trainings import CnnTraining, Transfer, training_hash

NORMED = {"batch_norm": True}


def make_source(**fields: Any) -> CnnTraining:
    learning = {"max_epochs": 2, "optimiser": {"learning_rate": 0.1}, "model": NORMED}
    return make_training(half="fm2", **{**learning, **fields})


def make_transfer(source: Ran, trained: Any = "last_layer", **fields: Any) -> CnnTraining:
    learning = {"seeds": [1], "max_epochs": 3, "model": NORMED, "optimiser": {"learning_rate": 0.1}}
    training = make_training(**{**learning, **fields})
    transfer = Transfer(source=training_hash(source.training), trained=trained)
    return training.model_copy(update={"transfer": transfer})


@pytest.fixture(scope="module")
def source(small: HalfData, sources: DataSources, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run_small(make_source(), tmp_path_factory.mktemp("source"), small, sources)


def weights_of(run: Ran) -> dict[str, torch.Tensor]:
    return load_model(run.folder).state_dict()


def test_frozen_layers_stay_the_sources(
    source: Ran, small: HalfData, sources: DataSources, tmp_path: Path
) -> None:
    run = run_small(make_transfer(source), tmp_path, small, sources, [source.needed()])
    ours, theirs = weights_of(run), weights_of(source)
    differs = {name for name, weight in ours.items() if not torch.equal(weight, theirs[name])}
    assert differs == {"fc2.weight", "fc2.bias"}
    assert run.summary["val_accuracy"] > 0.8
    # What is served is the whole network.
    hits = run_onnx((tmp_path / "model.onnx").read_bytes(), small.test).argmax(1)
    assert (hits == small.test.labels_N).mean() == run.summary["test_accuracy"]


def test_all_layers_may_learn_on(
    source: Ran, small: HalfData, sources: DataSources, tmp_path: Path
) -> None:
    training = make_transfer(source, "all_layers")
    run = run_small(training, tmp_path, small, sources, [source.needed()])
    ours, theirs = weights_of(run), weights_of(source)
    assert not any(torch.equal(weight, theirs[name]) for name, weight in ours.items())


@pytest.mark.parametrize("trained", ["last_layer", "all_layers"])
def test_the_last_layer_is_drawn_as_that_of_a_random_start(source: Ran, trained: str) -> None:
    model = cnn.make_model(make_transfer(source, trained), torch.device("cpu"), [source.needed()])
    random = cnn.make_model(make_training(seeds=[1], model=NORMED), torch.device("cpu"))
    assert torch.equal(model.denses[-1].weight, random.denses[-1].weight)
    assert torch.equal(model.denses[-1].bias, random.denses[-1].bias)
    assert torch.equal(model.convs[0].weight, weights_of(source)["conv1.weight"])
    assert model.is_frozen is (trained == "last_layer")


def test_features_once_give_the_same_run(
    source: Ran,
    small: HalfData,
    sources: DataSources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = [source.needed()]
    stacked = run_small(make_transfer(source), tmp_path / "stacked", small, sources, needed)
    fast = run_reference(make_transfer(source), tmp_path / "fast", small, sources, needed)
    monkeypatch.setattr(cnn, "has_fixed_features", lambda *_: False)
    slow = run_reference(make_transfer(source), tmp_path / "slow", small, sources, needed)
    for run in (stacked, fast):
        for ours, theirs in zip(run.figures(), slow.figures(), strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)
            assert ours["val_loss"] == pytest.approx(theirs["val_loss"], abs=1e-5)
        assert run.summary["test_loss"] == pytest.approx(slow.summary["test_loss"], abs=1e-5)


@pytest.mark.parametrize(
    "fields",
    [{"augmentation": {"flip": True, "shift": 1}}, {"model": {**NORMED, "dropout": 0.2}}],
    ids=["augmentation", "dropout"],
)
def test_frozen_with_chance_is_trained_step_by_step(
    source: Ran, small: HalfData, sources: DataSources, tmp_path: Path, fields: dict[str, Any]
) -> None:
    needed = [source.needed()]
    plain = run_small(make_transfer(source), tmp_path / "plain", small, sources, needed)
    run = run_small(make_transfer(source, **fields), tmp_path / "ours", small, sources, needed)
    assert run.figures()[0]["train_loss"] != plain.figures()[0]["train_loss"]
    theirs = weights_of(source)
    for name, weight in weights_of(run).items():
        assert torch.equal(weight, theirs[name]) is not name.startswith("fc2.")


def test_equal_transfers_are_bit_equal(
    source: Ran, small: HalfData, sources: DataSources, tmp_path: Path
) -> None:
    files = [
        run_small(make_transfer(source), tmp_path / name, small, sources, [source.needed()]).folder
        for name in ("one", "two")
    ]
    one, two = ((folder / "model.safetensors").read_bytes() for folder in files)
    assert one == two


def begin(training: CnnTraining, *needed: NeededRun) -> None:
    cnn.make_model(training, torch.device("cpu"), needed)


def test_a_source_that_is_not_given_is_refused(source: Ran) -> None:
    with pytest.raises(UserError, match=r"is missing; given: none"):
        begin(make_transfer(source))
    other = source.needed().model_copy(
        update={"outcome": source.outcome.model_copy(update={"training": make_training()})}
    )
    with pytest.raises(UserError, match=rf"is missing; given: {source.outcome.name}"):
        begin(make_transfer(source), other)


@pytest.mark.parametrize(
    "model",
    [{}, {**NORMED, "dense_layers": 3}, {**NORMED, "conv_layers": 1}, {**NORMED, "kernel_size": 3}],
    ids=["no batch norm", "dense layers", "convolutions", "filters"],
)
def test_a_source_of_another_shape_is_refused(source: Ran, model: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="do not fit"):
        begin(make_transfer(source, model=model), source.needed())


def test_a_source_without_files_is_refused(source: Ran) -> None:
    outcome = source.outcome
    with pytest.raises(UserError, match="has no weights any more"):
        begin(make_transfer(source), NeededRun(outcome=outcome, files={}))


def test_a_source_whose_weights_are_not_its_cards_is_refused(source: Ran, tmp_path: Path) -> None:
    needed = source.needed()
    damaged = tmp_path / "model.safetensors"
    content = bytearray(needed.files["model.safetensors"].read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    files = {**needed.files, "model.safetensors": damaged}
    with pytest.raises(ExportError, match="is not the file that"):
        begin(make_transfer(source), needed.model_copy(update={"files": files}))


def test_a_card_that_is_none_is_refused(source: Ran, tmp_path: Path) -> None:
    needed = source.needed()
    card = tmp_path / "model.json"
    card.write_text(json.dumps({"family": "cnn"}))
    files = {**needed.files, "model.json": card}
    with pytest.raises(UserError, match="can't be read"):
        begin(make_transfer(source), needed.model_copy(update={"files": files}))


def test_dropout_may_differ_from_the_sources(source: Ran) -> None:
    begin(make_transfer(source, model={**NORMED, "dropout": 0.5}), source.needed())
