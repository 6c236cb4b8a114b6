import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dense_cases import Trained, autoencoder_training, mlp_training, small_pictures, train_small
from safetensors.numpy import load_file
from torch.nn.functional import cross_entropy

from fmx_ml.data.loader import HalfData
from fmx_ml.data.sources import DataSources
from fmx_ml.engine.evaluate import to_device
from fmx_ml.errors import UserError
from fmx_ml.export import load_card, load_model, run_onnx
from fmx_ml.files import CARD_FILE, WEIGHTS_FILE
from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.pipelines import common, mlp
from fmx_ml.results import NeededRun
from fmx_ml.specs import MlpSpec
from fmx_ml.trainings import training_hash

ARTIFACTS = {
    "model.safetensors",
    "model.json",
    "model.onnx",
    "test-set.safetensors",
    "test-predictions.csv",
    "history.csv",
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(
    fm1: HalfData, sources: DataSources, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """An autoencoder to start from."""
    del fm1  # skips where the data set is not there
    folder = tmp_path_factory.mktemp("ae")
    return train_small(autoencoder_training(), folder, small_pictures(sources), sources)


@pytest.fixture(scope="module")
def trained(
    small: HalfData, sources: DataSources, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Six epochs from drawn weights."""
    training = mlp_training(max_epochs=6)
    return train_small(training, tmp_path_factory.mktemp("mlp"), small, sources)


@pytest.fixture
def run(tmp_path: Path, small: HalfData, sources: DataSources) -> Any:
    """Trains once more, into a folder of its own."""
    count = 0

    def start(*needed: NeededRun, pictures: HalfData = small, **fields: Any) -> Trained:
        nonlocal count
        count += 1
        training = mlp_training(**fields)
        return train_small(training, tmp_path / str(count), pictures, sources, needed)

    return start


def test_it_leaves_what_a_served_model_needs(trained: Trained) -> None:
    assert {path.name for path in trained.folder.iterdir()} == ARTIFACTS
    assert sorted(trained.sink.artifacts) == sorted(ARTIFACTS)
    assert trained.sink.phases == ["data", "training", "evaluation", "export"]
    card = load_card(trained.folder)
    assert card.family == "mlp"
    assert card.class_names == ("T-shirt/top", "Trouser", "Coat", "Sandal", "Bag")
    assert [output.shape for output in card.outputs] == [("N", 5), ("N", 5)]


def test_its_summary_is_json(trained: Trained) -> None:
    assert json.loads(json.dumps(trained.summary, allow_nan=False)) == trained.summary


def test_its_figures_are_of_all_ten_outputs(trained: Trained, small: HalfData) -> None:
    """Losses are over ten; no picture goes to an output that is no class."""
    model = load_model(trained.folder)
    for name, part in (
        ("val", small.val), ("test", small.test), ("best_weights_train", small.train),
    ):  # fmt: skip
        examples = to_device(part, CPU)
        with torch.no_grad():
            logits = model(examples.images_NCHW)
        assert logits.shape == (len(part.labels_N), 10)
        loss = cross_entropy(logits, examples.labels_N).item()
        accuracy = (logits.argmax(1) == examples.labels_N).float().mean().item()
        assert trained.summary[f"{name}_loss"] == pytest.approx(loss, rel=1e-5)
        assert trained.summary[f"{name}_accuracy"] == pytest.approx(accuracy)
    assert trained.summary["test_accuracy"] > 0.6
    assert trained.summary["test_loss"] > 1.461


@pytest.mark.parametrize("normalise", ["report", "unit"])
@pytest.mark.parametrize("output", ["sigmoid", "logits"])
def test_the_export_answers_for_the_classes_alone(
    run: Any, small: HalfData, normalise: str, output: str
) -> None:
    trained = run(normalise=normalise, model={"structure": [[784, 16], [16, 10]], "output": output})
    probabilities = run_onnx((trained.folder / "model.onnx").read_bytes(), small.test)
    scale, shift = (2, 1) if normalise == "report" else (1, 0)
    pixels = torch.from_numpy(small.test.images_NHW).float()[:, None] / 255
    with torch.no_grad():
        logits = load_model(trained.folder)(scale * pixels - shift)
    assert probabilities.shape == (500, 5)
    assert np.allclose(probabilities.sum(1), 1)
    assert np.allclose(probabilities, logits[:, :5].softmax(1), atol=1e-5)
    assert trained.summary["export"]["pictures"] == 500
    assert trained.summary["export"]["max_abs_difference"] < 1e-5


def test_equal_trainings_are_bit_equal(run: Any, source: Trained) -> None:
    encoder = training_hash(source.training)
    for fields, needed in (({}, []), ({"encoder": encoder}, [source.needed()])):
        first, again, other = (run(*needed, **fields, seed=seed) for seed in (0, 0, 1))
        content = (first.folder / WEIGHTS_FILE).read_bytes()
        assert (again.folder / WEIGHTS_FILE).read_bytes() == content
        assert (other.folder / WEIGHTS_FILE).read_bytes() != content


def test_it_starts_from_copies_of_the_encoders_weights(
    run: Any, source: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The autoencoder is held while the perceptron trains, and is as before afterwards."""
    held = load_model(source.folder)
    assert isinstance(held, Autoencoder)
    before = {name: weight.clone() for name, weight in held.state_dict().items()}
    monkeypatch.setattr(mlp, "load_source", lambda _: held)
    training = mlp_training(encoder=training_hash(source.training))
    start = mlp.make_model(training, [source.needed()]).state_dict()
    for number in (1, 2):
        for part in ("weight", "bias"):
            theirs = held.state_dict()[f"encoder{number}.{part}"]
            assert torch.equal(start[f"fc{number}.{part}"], theirs)
            assert start[f"fc{number}.{part}"].data_ptr() != theirs.data_ptr()
    trained = run(source.needed(), encoder=training.encoder)
    learnt = load_file(trained.folder / WEIGHTS_FILE)
    for name, weight in start.items():
        assert not np.array_equal(learnt[name], weight)
    for name, weight in held.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_pretrained_one_differs_from_a_drawn_one(run: Any, source: Trained) -> None:
    drawn = run(max_epochs=1)
    started = run(source.needed(), max_epochs=1, encoder=training_hash(source.training))
    assert drawn.summary["train_loss"] != started.summary["train_loss"]


def test_fractions_are_nested_and_alike_for_all_seeds(
    small: HalfData, sources: DataSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "load_half", lambda *_: small)

    def pictures(**fields: Any) -> list[bytes]:
        data = common.load_data(mlp_training(**fields), sources)
        return [image.tobytes() for image in data.train.images_NHW]

    few, more = pictures(fraction_percent=5), pictures(fraction_percent=10)
    assert (len(few), len(more)) == (75, 150)
    assert set(few) < set(more)
    assert pictures(fraction_percent=5, seed=3) == few
    assert len(pictures()) == 1_500


def test_the_summary_says_how_many_it_learnt_from(run: Any) -> None:
    summary = run(fraction_percent=10).summary
    assert (summary["fraction_percent"], summary["num_train"]) == (10, 150)


def test_a_rule_on_the_validation_loss_ends_it(run: Any) -> None:
    rule = {"window": 3, "threshold": -0.001, "min_epochs": 5}
    stopped = run(
        max_epochs=20, early_stopping=rule, optimiser={"name": "Adam", "learning_rate": 1e-7}
    )
    assert (stopped.summary["epochs"], stopped.summary["stopped_early"]) == (5, True)
    free = run(max_epochs=6, optimiser={"name": "Adam", "learning_rate": 1e-7})
    assert (free.summary["epochs"], free.summary["stopped_early"]) == (6, False)


def test_a_missing_autoencoder_is_named(run: Any, source: Trained) -> None:
    with pytest.raises(UserError, match="is missing; given: none"):
        run(encoder="0" * 64)
    with pytest.raises(UserError, match="is missing; given: ae"):
        run(source.needed(), encoder="0" * 64)


def test_an_autoencoder_of_another_shape_is_refused(run: Any, source: Trained) -> None:
    with pytest.raises(UserError, match="784-32-10, this perceptron 784-16-10"):
        run(
            source.needed(),
            encoder=training_hash(source.training),
            model=MlpSpec(structure=((784, 16), (16, 10))),
        )


def test_an_autoencoder_of_other_pixels_is_refused(run: Any, source: Trained) -> None:
    with pytest.raises(UserError, match=r"normalised as 'report', this perceptron .* 'unit'"):
        run(source.needed(), encoder=training_hash(source.training), normalise="unit")


def test_a_perceptron_is_no_autoencoder(run: Any, trained: Trained) -> None:
    with pytest.raises(UserError, match="is no autoencoder"):
        run(trained.needed(), encoder=training_hash(trained.training))


@pytest.mark.parametrize("name", [CARD_FILE, WEIGHTS_FILE])
def test_an_autoencoder_whose_files_are_gone(
    run: Any, source: Trained, name: str, tmp_path: Path
) -> None:
    needed, encoder = source.needed(), training_hash(source.training)
    without = {key: path for key, path in needed.files.items() if key != name}
    moved = needed.files | {name: tmp_path / "gone"}
    for files in (without, moved):
        with pytest.raises(UserError, match="has no weights any more"):
            run(needed.model_copy(update={"files": files}), encoder=encoder)
