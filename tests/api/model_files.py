"""Models to predict with: real networks with drawn weights, exported as a run exports them."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from http_service import Service
from ml_cases import miss, take_first
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save

from fmx_ml.data import fashion_mnist
from fmx_ml.data.classes import HALVES, names_of
from fmx_ml.data.loader import load_half
from fmx_ml.data.sources import DataSources, Pictures
from fmx_ml.engine.evaluate import predict, to_device
from fmx_ml.errors import DataUnavailableError
from fmx_ml.export import export_onnx, save_card, save_weights
from fmx_ml.files import CARD_FILE, ONNX_FILE, TEST_SET_FILE, WEIGHTS_FILE
from fmx_ml.model_card import CnnCard, MlpCard, outputs_of
from fmx_ml.models import build
from fmx_ml.models.cnn import Cnn
from fmx_ml.models.mlp import Mlp
from fmx_ml.specs import CnnSpec, Half, MlpSpec
from fmx_store.settings import get_settings

PER_CLASS = 40


@dataclass(frozen=True)
class ModelFiles:
    """The files of a run, and what its model says of its test pictures."""

    files: dict[str, bytes]
    half: Half
    test: Pictures
    probabilities_NK: NDArray[np.float32]


def sources(cache: Path) -> DataSources:
    """Where this machine has the data set."""
    return DataSources(get_settings().dataset_dir, cache, download=False)


def real_test_pictures(cache: Path) -> Pictures:
    """All 10,000 test pictures."""
    try:
        return fashion_mnist.load(sources(cache)).test
    except DataUnavailableError as error:
        miss(str(error))


def make_model_files(
    folder: Path, half: Half, seed: int, spec: CnnSpec | MlpSpec | None = None
) -> ModelFiles:
    """A model of a half of the real data set, its test set 40 pictures a class."""
    try:
        test = take_first(load_half("fashion-mnist", half, 0, sources(folder)).test, PER_CLASS)
    except DataUnavailableError as error:
        miss(str(error))
    spec = spec or CnnSpec(conv_layers=1, channels=(4,))
    model = _build(spec, seed)
    card = _describe(
        spec,
        num_classes=5,
        class_names=names_of("fashion-mnist", half),
        class_indices=HALVES[half],
        outputs=outputs_of(spec, 5),
        dataset="fashion-mnist",
        half=half,
        seed=seed,
        split_seed=0,
        best_epoch=1,
        weights_sha256=save_weights(model.state_dict(), folder / WEIGHTS_FILE),
    )
    save_card(card, folder / CARD_FILE)
    export_onnx(model, card, test, folder / ONNX_FILE)
    content = save({"images": test.images_NHW, "labels": test.labels_N})
    (folder / TEST_SET_FILE).write_bytes(content)
    names = (WEIGHTS_FILE, CARD_FILE, ONNX_FILE, TEST_SET_FILE)
    return ModelFiles(
        files={name: (folder / name).read_bytes() for name in names},
        half=half,
        test=test,
        probabilities_NK=predict(model, to_device(test, torch.device("cpu")), card.num_classes),
    )


def _build(spec: CnnSpec | MlpSpec, seed: int) -> Cnn | Mlp:
    generator = torch.Generator().manual_seed(seed)
    match spec:
        case CnnSpec():
            return build(spec, 5, generator).eval()
        case MlpSpec():
            return build(spec, 5, generator).eval()


def _describe(spec: CnnSpec | MlpSpec, **said: Any) -> CnnCard | MlpCard:
    match spec:
        case CnnSpec():
            return CnnCard(architecture=spec, **said)
        case MlpSpec():
            return MlpCard(architecture=spec, **said)


def png(picture_HW: NDArray[np.uint8]) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    Image.fromarray(picture_HW).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """A model of the first half."""
    return make_model_files(tmp_path_factory.mktemp("fm1"), "fm1", seed=1)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """A model of the second half."""
    return make_model_files(tmp_path_factory.mktemp("fm2"), "fm2", seed=2)


@pytest.fixture(scope="module")
def model_id(shared: Service, made: ModelFiles) -> str:
    """The first half's model on the module's server."""
    job_id = shared.run_to_success(files=made.files, model=True)
    return shared.get(f"/v1/jobs/{job_id}")["models"][0]


@pytest.fixture(scope="module")
def predict_path(model_id: str) -> str:
    """Where that model predicts."""
    return f"/v1/models/{model_id}/predict"
