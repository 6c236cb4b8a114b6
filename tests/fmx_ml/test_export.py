import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from ml_cases import FinishedJob
from onnx import numpy_helper
from torch import nn

from fmx_ml import export
from fmx_ml.data.loader import HalfData
from fmx_ml.engine.evaluate import predict, to_device
from fmx_ml.errors import ExportError
from fmx_ml.export import export_onnx, load_card, load_model, run_onnx, save_card, save_weights
from fmx_ml.files import CARD_FILE, ONNX_FILE, WEIGHTS_FILE
from fmx_ml.model_card import CnnCard, outputs_of
from fmx_ml.models import build
from fmx_ml.models.cnn import Cnn
from fmx_ml.onnx_graph import Weights, make_onnx
from fmx_ml.specs import CnnSpec

ARCHITECTURES = [
    CnnSpec(conv_layers=1, dense_layers=1),
    CnnSpec(conv_layers=2, dense_layers=2),
    CnnSpec(conv_layers=2, dense_layers=3),
    CnnSpec(conv_layers=4, dense_layers=2),
    CnnSpec(conv_layers=3, kernel_size=3, channels=(2, 3, 4), padding="same"),
    CnnSpec(conv_layers=2, batch_norm=True, dropout=0.3),
    CnnSpec(conv_layers=4, batch_norm=True),
]


def make_card(architecture: CnnSpec, sha256: str = "0" * 64) -> CnnCard:
    return CnnCard(
        architecture=architecture,
        num_classes=5,
        class_names=("a", "b", "c", "d", "e"),
        class_indices=(0, 1, 4, 5, 8),
        outputs=outputs_of(architecture, 5),
        dataset="fashion-mnist",
        half="fm1",
        seed=0,
        split_seed=0,
        best_epoch=1,
        weights_sha256=sha256,
    )


def make_model(architecture: CnnSpec) -> Cnn:
    """With weights three times as large, so that probabilities are not all alike; in eval mode."""
    generator = torch.Generator().manual_seed(0)
    model = build(architecture, 5, generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
        for norm in model.norms:
            if isinstance(norm, nn.BatchNorm2d):
                for values, low, high in (
                    (norm.weight, -1, 2), (norm.bias, -1, 1),
                    (norm.running_mean, -1, 1), (norm.running_var, 0.1, 2),
                ):  # fmt: skip
                    assert values is not None
                    values.uniform_(low, high, generator=generator)
    return model.eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=repr)
def test_export_agrees_with_torch(architecture: CnnSpec, small: HalfData, tmp_path: Path) -> None:
    model, card = make_model(architecture), make_card(architecture)
    check = export_onnx(model, card, small.test, tmp_path / ONNX_FILE)
    assert check.num_pictures == 500
    assert check.max_abs_difference < 1e-5
    assert check.num_different_predictions == 0
    assert [path.name for path in tmp_path.iterdir()] == [ONNX_FILE]  # no weights beside it

    session = onnxruntime.InferenceSession(tmp_path / ONNX_FILE)
    names = [output.name for output in session.get_outputs()]
    assert names == [output.name for output in card.outputs]
    for size in (1, 7):
        raw = small.test.images_NHW[:size, None].astype(np.float32)
        answers: Any = session.run(None, {"images": raw})
        outputs = dict(zip(names, answers, strict=True))
        images = to_device(small.test, torch.device("cpu")).images_NCHW[:size]
        with torch.no_grad():
            logits, maps = model(images), list(model.feature_maps(images))
        assert np.allclose(outputs["logits"], logits, atol=1e-4)
        assert np.allclose(outputs["probabilities"], logits.softmax(1), atol=1e-5)
        for number, expected in enumerate(maps, start=1):
            assert np.allclose(outputs[f"conv{number}"], expected, atol=1e-4)
        for output in card.outputs:
            assert outputs[output.name].shape == (size, *output.shape[1:])


def test_the_trained_model_is_exported_as_it_predicts(
    three_seeds: FinishedJob, small: HalfData
) -> None:
    folder = three_seeds.folder / "seed-0"
    content = (folder / ONNX_FILE).read_bytes()
    expected = predict(load_model(folder), to_device(small.test, torch.device("cpu")))
    probabilities = run_onnx(content, small.test)
    assert np.array_equal(probabilities.argmax(1), expected.argmax(1))
    assert np.abs(probabilities - expected).max() < 1e-5


def test_the_file_is_self_contained_and_says_its_shapes() -> None:
    model = make_model(CnnSpec())
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    graph = make_onnx(make_card(CnnSpec()), weights).graph
    shape = graph.input[0].type.tensor_type.shape
    assert [dim.dim_param or dim.dim_value for dim in shape.dim] == ["N", 1, 28, 28]
    held = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    for name, weight in weights.items():
        assert np.array_equal(held[name], weight)
    assert not any(constant.external_data for constant in graph.initializer)


def test_equal_weights_equal_bytes(small: HalfData, tmp_path: Path) -> None:
    for name in ("one", "two"):
        model = make_model(CnnSpec())
        export_onnx(model, make_card(CnnSpec()), small.test, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("value", [1e-3, float("nan")])
def test_an_export_that_disagrees_is_refused(
    small: HalfData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    def make_wrong(card: CnnCard, weights: Weights) -> onnx.ModelProto:
        wrong = weights["fc2.bias"].copy()
        wrong[0] += value
        return make_onnx(card, {**weights, "fc2.bias": wrong})

    monkeypatch.setattr(export, "make_onnx", make_wrong)
    with pytest.raises(ExportError, match="a probability of the export differs"):
        export_onnx(make_model(CnnSpec()), make_card(CnnSpec()), small.test, tmp_path / ONNX_FILE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=repr)
def test_a_model_is_rebuilt_from_its_files(architecture: CnnSpec, tmp_path: Path) -> None:
    model = make_model(architecture)
    sha256 = save_weights(model.state_dict(), tmp_path / WEIGHTS_FILE)
    save_card(make_card(architecture, sha256), tmp_path / CARD_FILE)
    loaded = load_model(tmp_path)
    assert not loaded.training
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    assert torch.equal(loaded(images), model(images))
    assert load_card(tmp_path) == make_card(architecture, sha256)


def test_channels_last_weights_are_saved_alike(tmp_path: Path) -> None:
    plain, other = make_model(CnnSpec()), make_model(CnnSpec())
    nn.Module.to(other, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    one = save_weights(plain.state_dict(), tmp_path / "one")
    assert save_weights(other.state_dict(), tmp_path / "two") == one


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    sha256 = save_weights(make_model(CnnSpec()).state_dict(), tmp_path / WEIGHTS_FILE)
    save_card(make_card(CnnSpec(), sha256), tmp_path / CARD_FILE)
    content = bytearray((tmp_path / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ExportError, match=r"is not the file that model\.json describes"):
        load_model(tmp_path)


def test_the_card_says_what_a_server_needs(three_seeds: FinishedJob) -> None:
    card = json.loads((three_seeds.folder / "seed-1" / CARD_FILE).read_text())
    assert card["format_version"] == 1
    assert card["architecture"]["conv_layers"] == 2
    assert card["class_names"] == ["T-shirt/top", "Trouser", "Coat", "Sandal", "Bag"]
    assert card["class_indices"] == [0, 1, 4, 5, 8]
    assert card["input"]["name"] == "images"
    assert card["input"]["shape"] == ["N", 1, 28, 28]
    assert [output["name"] for output in card["outputs"]] == [
        "logits", "probabilities", "conv1", "conv2",
    ]  # fmt: skip
    assert (card["dataset"], card["half"], card["seed"]) == ("fashion-mnist", "fm1", 1)
    assert 1 <= card["best_epoch"] <= 4
