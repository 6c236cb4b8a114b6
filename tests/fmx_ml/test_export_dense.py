"""Perceptrons and autoencoders as files."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from pydantic import ValidationError

from fmx_ml import export
from fmx_ml.data.loader import HalfData
from fmx_ml.errors import ExportError
from fmx_ml.export import TOLERANCE, export_onnx, load_card, load_model, save_card, save_weights
from fmx_ml.files import CARD_FILE, ONNX_FILE, WEIGHTS_FILE
from fmx_ml.model_card import (
    AutoencoderCard,
    CnnCard,
    MlpCard,
    input_of,
    outputs_of,
    parse_card,
    parse_classifier,
)
from fmx_ml.models import build, build_autoencoder
from fmx_ml.models.mlp import Mlp
from fmx_ml.onnx_graph import Weights, make_onnx
from fmx_ml.specs import AutoencoderSpec, MlpSpec

SIGMOID, LOGITS = MlpSpec(), MlpSpec(output="logits")
FIVE_OUTPUTS = MlpSpec(structure=((784, 5),), output="logits")


def make_card(architecture: MlpSpec, sha256: str = "0" * 64, **fields: Any) -> MlpCard:
    return MlpCard(
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
        **fields,
    )


def make_model(architecture: MlpSpec, factor: float = 3) -> Mlp:
    """With weights some times as large, so that probabilities are not all alike."""
    model = build(architecture, 5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(factor)
    return model


@pytest.mark.parametrize("architecture", [SIGMOID, LOGITS, FIVE_OUTPUTS], ids=repr)
def test_a_perceptrons_export_has_the_outputs_of_its_card(
    architecture: MlpSpec, small: HalfData, tmp_path: Path
) -> None:
    model, card = make_model(architecture), make_card(architecture, input=input_of("unit"))
    check = export_onnx(model, card, small.test, tmp_path / ONNX_FILE)
    assert check.num_pictures == 500
    assert check.max_abs_difference < TOLERANCE
    session = onnxruntime.InferenceSession(tmp_path / ONNX_FILE)
    assert [output.name for output in session.get_outputs()] == ["logits", "probabilities"]
    for size in (1, 7):
        raw = small.test.images_NHW[:size, None].astype(np.float32)
        answers: Any = session.run(None, {"images": raw})
        with torch.no_grad():
            logits = model(torch.from_numpy(raw) / 255)[:, :5]
        assert np.allclose(answers[0], logits, atol=1e-4)
        assert np.allclose(answers[1], logits.softmax(1), atol=1e-5)


def coarse_model() -> Mlp:
    """A sigmoid's perceptron whose inner numbers are in the thousands, as a large step leaves."""
    model = make_model(SIGMOID, factor=1)
    with torch.no_grad():
        for layer in model.denses:
            layer.weight.mul_(20)
    return model


def test_where_float32_is_coarse_the_export_may_be_as_coarse_as_torch(
    small: HalfData, tmp_path: Path
) -> None:
    check = export_onnx(coarse_model(), make_card(SIGMOID), small.test, tmp_path / ONNX_FILE)
    assert check.max_abs_difference > TOLERANCE
    assert check.max_abs_difference < 100 * TOLERANCE


def test_where_float32_is_coarse_a_wrong_export_is_refused(
    small: HalfData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_wrong(card: CnnCard | MlpCard, weights: Weights) -> onnx.ModelProto:
        wrong = weights["fc4.bias"].copy()
        wrong[0] += 0.5
        return make_onnx(card, {**weights, "fc4.bias": wrong})

    monkeypatch.setattr(export, "make_onnx", make_wrong)
    with pytest.raises(ExportError, match="a probability of the export differs"):
        export_onnx(coarse_model(), make_card(SIGMOID), small.test, tmp_path / ONNX_FILE)
    assert list(tmp_path.iterdir()) == []


def test_a_perceptron_is_rebuilt_from_its_files(tmp_path: Path) -> None:
    model = make_model(SIGMOID)
    sha256 = save_weights(model.state_dict(), tmp_path / WEIGHTS_FILE)
    save_card(make_card(SIGMOID, sha256), tmp_path / CARD_FILE)
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    assert torch.equal(load_model(tmp_path)(images), model(images))
    assert load_card(tmp_path) == make_card(SIGMOID, sha256)


def make_autoencoder_card(sha256: str = "0" * 64) -> AutoencoderCard:
    return AutoencoderCard(
        architecture=AutoencoderSpec(),
        input=input_of("unit"),
        dataset="fashion-mnist",
        seed=0,
        split_seed=0,
        best_epoch=1,
        weights_sha256=sha256,
    )


def test_an_autoencoder_is_rebuilt_from_its_files(tmp_path: Path) -> None:
    model = build_autoencoder(AutoencoderSpec(), torch.Generator().manual_seed(0))
    sha256 = save_weights(model.state_dict(), tmp_path / WEIGHTS_FILE)
    save_card(make_autoencoder_card(sha256), tmp_path / CARD_FILE)
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    assert torch.equal(load_model(tmp_path)(images), model(images))
    assert load_card(tmp_path) == make_autoencoder_card(sha256)


def test_cards_are_told_apart_by_family() -> None:
    perceptron, autoencoder = make_card(LOGITS), make_autoencoder_card()
    assert parse_classifier(perceptron.model_dump_json()) == perceptron
    assert parse_card(autoencoder.model_dump_json()) == autoencoder
    with pytest.raises(ValidationError, match="'autoencoder' found using 'family' does not match"):
        parse_classifier(autoencoder.model_dump_json())
    with pytest.raises(ValidationError, match="conv_layers"):
        parse_card(make_card(LOGITS).model_dump_json().replace('"structure"', '"conv_layers"'))
