"""A model's files: weights as safetensors, the JSON that rebuilds it, and a proved ONNX export.

Legend of shapes: N examples, H W pixels, K classes.
"""

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from fmx_ml.data.sources import Pictures
from fmx_ml.engine.evaluate import Examples, predict, to_device
from fmx_ml.errors import ExportError
from fmx_ml.files import CARD_FILE, WEIGHTS_FILE
from fmx_ml.model_card import AutoencoderCard, CnnCard, MlpCard, parse_card
from fmx_ml.models import build, build_autoencoder
from fmx_ml.models.autoencoder import Autoencoder
from fmx_ml.models.cnn import Cnn
from fmx_ml.models.mlp import Mlp
from fmx_ml.onnx_graph import make_onnx

TOLERANCE = 1e-5  # of a probability: float32 sums in another order differ by about 1e-6
_LENIENCE = 4  # so many times torch's own rounding error is an export's at most
Card = CnnCard | MlpCard | AutoencoderCard

_BATCH_SIZE = 1_000  # pictures a call of onnxruntime


@dataclass(frozen=True)
class ExportCheck:
    """How the export compares with the model over some pictures."""

    num_pictures: int
    max_abs_difference: float  # of a probability
    num_different_predictions: int


def save_weights(weights: dict[str, Tensor], path: Path) -> str:
    """Writes the weights as safetensors; gives back the file's sha256 in hex."""
    content = save({name: weight.cpu().contiguous() for name, weight in weights.items()})
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def save_card(card: Card, path: Path) -> None:
    """Writes the JSON that rebuilds the model."""
    path.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_card(folder: Path) -> Card:
    """The card in a folder. Raises FileNotFoundError, pydantic.ValidationError."""
    return parse_card((folder / CARD_FILE).read_bytes())


def load_model(folder: Path) -> Cnn | Mlp | Autoencoder:
    """The model in a folder; see `rebuild`."""
    return rebuild(folder / CARD_FILE, folder / WEIGHTS_FILE)


def rebuild(card_path: Path, weights_path: Path) -> Cnn | Mlp | Autoencoder:
    """A model on the CPU and in eval mode, rebuilt from its card and weights.

    Raises:
        FileNotFoundError: a file is missing.
        pydantic.ValidationError: the card is not one.
        ExportError: the weights are damaged or belong to another card.
    """
    card = parse_card(card_path.read_bytes())
    content = weights_path.read_bytes()
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise ExportError(f"{weights_path} is not the file that {CARD_FILE} describes")
    model = _build(card)
    model.load_state_dict(load(content))
    return model.eval()


def _build(card: Card) -> Cnn | Mlp | Autoencoder:
    match card:
        case CnnCard():
            return build(card.architecture, card.num_classes, torch.Generator())
        case MlpCard():
            return build(card.architecture, card.num_classes, torch.Generator())
        case AutoencoderCard():
            return build_autoencoder(card.architecture, torch.Generator())


def export_onnx(
    model: Cnn | Mlp,
    card: CnnCard | MlpCard,
    pictures: Pictures,
    path: Path,
    ours_NK: NDArray[np.float32] | None = None,
) -> ExportCheck:
    """Writes the ONNX export once it agrees with the model on all of the pictures.

    `ours_NK` are the model's probabilities of the pictures, where they are known already.

    The export takes raw pixels, float32 [N, 1, 28, 28] of 0 to 255, and holds everything in one
    file.

    Where float32 itself is too coarse for TOLERANCE, because numbers inside the network are in the
    thousands, the export must lie as near to the answer in float64 as the model does, or nearly so.

    Raises:
        ExportError: a probability differs by more than that. A prediction can differ only where
            the two best classes lie within twice the difference; such ties are counted.
    """
    weights = {name: weight.cpu().numpy() for name, weight in model.state_dict().items()}
    content = make_onnx(card, weights).SerializeToString(deterministic=True)
    theirs_NK = run_onnx(content, pictures)
    examples = to_device(pictures, torch.device("cpu"), card.input)
    if ours_NK is None:
        ours_NK = predict(model, examples, card.num_classes)
    difference = _largest(ours_NK, theirs_NK)
    if not difference < TOLERANCE:  # so that NaN is refused too
        exact_NK = _predict_exactly(model, examples, card.num_classes)
        allowed = _LENIENCE * _largest(ours_NK, exact_NK)
        if not _largest(theirs_NK, exact_NK) <= allowed:
            raise ExportError(
                f"a probability of the export differs by {difference:.2g} from torch's"
            )
    path.write_bytes(content)
    differs_N = ours_NK.argmax(1) != theirs_NK.argmax(1)
    return ExportCheck(len(ours_NK), difference, int(differs_N.sum()))


def run_onnx(content: bytes, pictures: Pictures) -> NDArray[np.float32]:
    """The probabilities, [N, K], that onnxruntime gets from an export on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    parts: list[Any] = [
        session.run(["probabilities"], {"images": images_NHW[:, None].astype(np.float32)})[0]
        for images_NHW in np.array_split(
            pictures.images_NHW, max(1, len(pictures.labels_N) // _BATCH_SIZE)
        )
    ]
    return np.concatenate(parts)


def _predict_exactly(model: Cnn | Mlp, examples: Examples, num_classes: int) -> NDArray[np.float64]:
    """The model's probabilities computed in float64."""
    images_NCHW = examples.images_NCHW.double()
    double = copy.deepcopy(model).double()
    probabilities_NK = predict(double, Examples(images_NCHW, examples.labels_N), num_classes)
    return probabilities_NK.astype(np.float64)


def _largest(one_NK: NDArray[Any], other_NK: NDArray[Any]) -> float:
    """The largest difference of a probability."""
    return float(np.abs(one_NK - other_NK).max())
